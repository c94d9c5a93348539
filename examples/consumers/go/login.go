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

// ErrAllSecretsRejected means that Auth0 rejected every secret in the list.
var ErrAllSecretsRejected = errors.New("Auth0 rejected every secret in the list")

// Login requests access tokens for a client whose secret is rotated.
type Login struct {
	config  clientcredentials.Config
	secrets *Secrets
	http    *http.Client

	mu           sync.Mutex
	lastAccepted string
}

// NewLogin returns a Login for the tenant and the audience in the environment.
func NewLogin(secrets *Secrets, clientID string) (*Login, error) {
	domain, audience := os.Getenv("AUTH0_DOMAIN"), os.Getenv("AUTH0_AUDIENCE")
	if domain == "" || audience == "" || clientID == "" {
		return nil, errors.New("AUTH0_DOMAIN, AUTH0_AUDIENCE and a client ID are required")
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

// Token returns a new access token and the number of secrets that it tried. It tries the secret
// that Auth0 accepted last, then the list in order. If Auth0 rejects all of them, Token reads the
// list again and tries the new one once.
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
				l.lastAccepted = secret
				return token, tries, nil
			}
			if !isSecretRejected(err) {
				return nil, tries, err
			}
		}
		l.lastAccepted = ""
		l.secrets.refreshOrLog()
	}
	return nil, tries, ErrAllSecretsRejected
}

// candidates returns the secrets in the order in which to try them.
func (l *Login) candidates() []string {
	var candidates []string
	if l.lastAccepted != "" {
		candidates = append(candidates, l.lastAccepted)
	}
	for _, secret := range l.secrets.List() {
		if secret != l.lastAccepted {
			candidates = append(candidates, secret)
		}
	}
	return candidates
}

// isSecretRejected reports whether Auth0 rejected the secret itself: status 401, with
// invalid_client or access_denied. After any other error, another secret would not help.
func isSecretRejected(err error) bool {
	var retrieveError *oauth2.RetrieveError
	return errors.As(err, &retrieveError) && retrieveError.Response.StatusCode == http.StatusUnauthorized
}
