/* Preloaded into a process, sets its clock on the wall apart from the machine's. */

#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *time)
{
    const char *apart = getenv("CLOCK_APART_SECONDS");
    long failed = syscall(SYS_clock_gettime, clock, time);
    if (!failed && clock == CLOCK_REALTIME && apart)
        time->tv_sec += atol(apart);
    return failed;
}
