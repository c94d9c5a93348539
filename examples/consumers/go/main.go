// Command consumer logs in to Auth0 with the secrets of a mounted file.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	// The first process of a container isn't ended by a signal that it doesn't handle.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "consumer:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	secrets, clientID, err := source()
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
	seconds, err := time.ParseDuration(every + "s")
	if err != nil || seconds <= 0 {
		return fmt.Errorf("LOGIN_EVERY is not a number of seconds: %q", every)
	}
	repeat(ctx, login, seconds)
	return nil
}

// source is the mounted folder, or the environment of a process that is restarted.
func source() (*Secrets, string, error) {
	if _, ok := os.LookupEnv("AUTH0_CLIENT_SECRETS"); ok {
		secrets, err := FromEnvironment("AUTH0_CLIENT_SECRETS")
		return secrets, os.Getenv("AUTH0_CLIENT_ID"), err
	}
	dir := cmp.Or(os.Getenv("AUTH0_SECRET_DIR"), "/var/run/auth0")
	secrets, err := FromFolder(dir)
	if err != nil {
		return nil, "", err
	}
	clientID, err := os.ReadFile(dir + "/client_id")
	return secrets, string(clientID), err
}

// repeat logs in until it is told to end, and writes how it went. A service would keep each token
// until shortly before its end (oauth2.ReuseTokenSource) and log in that often only.
func repeat(ctx context.Context, login *Login, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	accepted := time.Now()
	for {
		_, tries, err := login.Token(ctx)
		if ctx.Err() != nil {
			return
		}
		outcome, gap := "accepted", time.Since(accepted)
		if err != nil {
			outcome = "failed"
			fmt.Fprintln(os.Stderr, "consumer:", err)
		} else {
			accepted = time.Now()
		}
		say(map[string]any{"login": outcome, "tries": tries, "gap": gap.Seconds()})
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func say(line map[string]any) {
	// It fails when nobody reads it any more.
	_ = json.NewEncoder(os.Stdout).Encode(line)
}
