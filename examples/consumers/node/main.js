import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Login } from './login.js'
import { Secrets } from './secrets.js'

function requiredVariable(name) {
  const value = process.env[name]
  if (!value) throw new Error(`${name} is not set`)
  return value
}

async function main() {
  const directory = process.env.AUTH0_SECRET_DIR || '/var/run/auth0'
  const settings = {
    domain: requiredVariable('AUTH0_DOMAIN'),
    endpoint: process.env.AUTH0_ENDPOINT || undefined,
    audience: requiredVariable('AUTH0_AUDIENCE'),
    clientId: readFileSync(join(directory, 'client_id'), 'utf8'),
  }
  const secrets = new Secrets(directory)
  const login = new Login(settings, secrets)
  const every = process.env.LOGIN_EVERY
  if (!every) {
    await login.token()
    return
  }
  const seconds = Number(every)
  if (!(seconds > 0)) {
    throw new Error(`LOGIN_EVERY is "${every}"; set it to a positive number of seconds, such as 10`)
  }
  secrets.watch()
  await logInPeriodically(login, seconds)
}

/**
 * Logs in every `seconds` until the process exits, and prints the outcome of each login. A real
 * service would keep each token until shortly before it expires (expiresIn()) and log in only then.
 */
async function logInPeriodically(login, seconds) {
  let lastAccepted = performance.now()
  for (;;) {
    const nextLogin = sleep(seconds * 1000)
    let outcome = 'accepted'
    let tries
    try {
      ;({ tries } = await login.token())
    } catch (error) {
      outcome = 'failed'
      tries = error.tries
      console.error(`consumer: ${error.message}`)
    }
    const gap = (performance.now() - lastAccepted) / 1000
    if (outcome === 'accepted') lastAccepted = performance.now()
    console.log(JSON.stringify({ login: outcome, tries, gap }))
    await nextLogin
  }
}

// The kernel ignores these signals for the first process of a container unless it has a handler.
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(0))

try {
  await main()
} catch (error) {
  console.error(`consumer: ${error.message}`)
  process.exitCode = 1
}
