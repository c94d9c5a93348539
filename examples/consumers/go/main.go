// Command consumer logs in to Auth0 with the client secrets of a mounted Secret.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	// The kernel ignores SIGTERM for the first process of a container unless it has a handler.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "consumer:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	secrets, clientID, err := loadCredentials()
	if err != nil {
		return err
	}
	if err := secrets.Watch(ctx); err != nil {
		return err
	}
	login, err := NewLogin(secrets, clientID)
	if err != nil {
		return err
	}
	every := os.Getenv("LOGIN_EVERY")
	if every == "" {
		_, _, err := login.Token(ctx)
		return err
	}
	interval, err := time.ParseDuration(every + "s")
	if err != nil || interval <= 0 {
		return fmt.Errorf("LOGIN_EVERY is %q; set it to a positive number of seconds, such as 10", every)
	}
	logInPeriodically(ctx, login, interval)
	return nil
}

// loadCredentials returns the secrets and the client ID. They come from the environment if
// AUTH0_CLIENT_SECRETS is set, and from the mounted directory otherwise.
func loadCredentials() (*Secrets, string, error) {
	if _, ok := os.LookupEnv("AUTH0_CLIENT_SECRETS"); ok {
		secrets, err := NewSecretsFromEnv("AUTH0_CLIENT_SECRETS")
		return secrets, os.Getenv("AUTH0_CLIENT_ID"), err
	}
	dir := cmp.Or(os.Getenv("AUTH0_SECRET_DIR"), "/var/run/auth0")
	secrets, err := NewSecretsFromDir(dir)
	if err != nil {
		return nil, "", err
	}
	clientID, err := os.ReadFile(filepath.Join(dir, "client_id"))
	return secrets, string(clientID), err
}

// logInPeriodically logs in at each interval until ctx is done, and prints the outcome of each
// login. A real service would keep each token until shortly before it expires
// (oauth2.ReuseTokenSource) and log in only then.
func logInPeriodically(ctx context.Context, login *Login, interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	lastAccepted := time.Now()
	for {
		_, tries, err := login.Token(ctx)
		if ctx.Err() != nil {
			return
		}
		outcome, gap := "accepted", time.Since(lastAccepted)
		if err != nil {
			outcome = "failed"
			fmt.Fprintln(os.Stderr, "consumer:", err)
		} else {
			lastAccepted = time.Now()
		}
		printJSON(map[string]any{"login": outcome, "tries": tries, "gap": gap.Seconds()})
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// printJSON prints a line of JSON to standard output.
func printJSON(line map[string]any) {
	// Encoding fails only if standard output is closed, and then there is no reader to inform.
	_ = json.NewEncoder(os.Stdout).Encode(line)
}
