package main

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// ErrRefused means that Auth0 accepts none of the secrets.
var ErrRefused = errors.New("Auth0 refuses each secret of the list")

// Login gets tokens for a client whose secret changes.
type Login struct {
	config  clientcredentials.Config
	secrets *Secrets
	http    *http.Client

	mu    sync.Mutex
	works string
}

// NewLogin takes its settings from the environment.
func NewLogin(secrets *Secrets, clientID string) (*Login, error) {
	domain, audience := os.Getenv("AUTH0_DOMAIN"), os.Getenv("AUTH0_AUDIENCE")
	if domain == "" || audience == "" || clientID == "" {
		return nil, errors.New("AUTH0_DOMAIN, AUTH0_AUDIENCE and a client id are needed")
	}
	endpoint := cmp.Or(os.Getenv("AUTH0_ENDPOINT"), "https://"+domain)
	return &Login{
		config: clientcredentials.Config{
			ClientID:       clientID,
			TokenURL:       endpoint + "/oauth/token",
			EndpointParams: url.Values{"audience": {audience}},
			AuthStyle:      oauth2.AuthStyleInParams,
		},
		secrets: secrets,
		http:    &http.Client{Timeout: 10 * time.Second},
	}, nil
}

// Token logs in: with the secret that worked last, then with the list in its order, and once more
// with what a fresh read of it has. It also returns how many secrets it tried.
func (l *Login) Token(ctx context.Context) (*oauth2.Token, int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ctx = context.WithValue(ctx, oauth2.HTTPClient, l.http)
	tries := 0
	for range 2 {
		for _, secret := range l.candidates() {
			tries++
			config := l.config
			config.ClientSecret = secret
			token, err := config.Token(ctx)
			if err == nil {
				l.works = secret
				return token, tries, nil
			}
			if !isRefused(err) {
				return nil, tries, err
			}
		}
		l.works = ""
		l.secrets.refreshOrComplain()
	}
	return nil, tries, ErrRefused
}

func (l *Login) candidates() []string {
	var candidates []string
	if l.works != "" {
		candidates = append(candidates, l.works)
	}
	for _, secret := range l.secrets.List() {
		if secret != l.works {
			candidates = append(candidates, secret)
		}
	}
	return candidates
}

// isRefused says whether it was the secret that Auth0 didn't accept: 401, with invalid_client or
// access_denied. Another secret is of no use against any other answer.
func isRefused(err error) bool {
	var answer *oauth2.RetrieveError
	return errors.As(err, &answer) && answer.Response.StatusCode == http.StatusUnauthorized
}
