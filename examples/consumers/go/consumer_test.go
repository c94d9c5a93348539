package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakeAuth0 is a token endpoint that accepts some secrets and records the secrets that it receives.
type fakeAuth0 struct {
	mu       sync.Mutex
	accepted []string
	status   int
	received []string
}

func (a *fakeAuth0) accept(secrets ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.accepted, a.received = secrets, nil
}

func (a *fakeAuth0) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	secret := r.PostFormValue("client_secret")
	a.received = append(a.received, secret)
	w.Header().Set("content-type", "application/json")
	switch {
	case a.status != 0:
		w.WriteHeader(a.status)
		fmt.Fprint(w, `{"error":"access_denied","error_description":"no grant"}`)
	case r.URL.Path == "/oauth/token" && r.PostFormValue("audience") == "https://api.example" &&
		r.PostFormValue("client_id") == "shop" && slices.Contains(a.accepted, secret):
		fmt.Fprint(w, `{"access_token":"token","token_type":"Bearer","expires_in":60}`)
	default:
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"error":"access_denied","error_description":"Unauthorized"}`)
	}
}

// mountedSecret is a directory laid out and updated the way the kubelet does it.
type mountedSecret struct {
	t        *testing.T
	dir      string
	versions int
}

func newMountedSecret(t *testing.T, content string) *mountedSecret {
	t.Helper()
	m := &mountedSecret{t: t, dir: t.TempDir()}
	m.update(content)
	requireNoError(t, os.Symlink("..data/client_secrets", filepath.Join(m.dir, "client_secrets")))
	return m
}

// update replaces the symbolic link ..data with one to a new version.
func (m *mountedSecret) update(content string) {
	m.t.Helper()
	m.versions++
	version := fmt.Sprintf("..%d", m.versions)
	requireNoError(m.t, os.Mkdir(filepath.Join(m.dir, version), 0o755))
	path := filepath.Join(m.dir, version, "client_secrets")
	requireNoError(m.t, os.WriteFile(path, []byte(content), 0o644))
	requireNoError(m.t, os.Symlink(version, filepath.Join(m.dir, "..data_tmp")))
	requireNoError(m.t, os.Rename(filepath.Join(m.dir, "..data_tmp"), filepath.Join(m.dir, "..data")))
}

func newLogin(t *testing.T, mounted *mountedSecret) (*fakeAuth0, *Login) {
	t.Helper()
	auth0 := &fakeAuth0{}
	server := httptest.NewServer(auth0)
	t.Cleanup(server.Close)
	t.Setenv("AUTH0_DOMAIN", "acme.eu.auth0.com")
	t.Setenv("AUTH0_ENDPOINT", server.URL)
	t.Setenv("AUTH0_AUDIENCE", "https://api.example")
	secrets, err := NewSecretsFromDir(mounted.dir)
	requireNoError(t, err)
	login, err := NewLogin(secrets, "shop")
	requireNoError(t, err)
	return auth0, login
}

func requireNoError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// requireLogin logs in and requires that exactly these secrets were tried, in this order, and that
// the last one was accepted.
func requireLogin(t *testing.T, auth0 *fakeAuth0, login *Login, order ...string) {
	t.Helper()
	auth0.received = nil
	token, tries, err := login.Token(t.Context())
	if err != nil || token.AccessToken != "token" {
		t.Fatalf("login failed: %v", err)
	}
	if !slices.Equal(auth0.received, order) || tries != len(order) {
		t.Fatalf("tried %v and reported %d tries, want %v", auth0.received, tries, order)
	}
}

func TestTriesListInOrderAndRemembersAcceptedSecret(t *testing.T) {
	mounted := newMountedSecret(t, `["a","b","c"]`)
	auth0, login := newLogin(t, mounted)
	auth0.accept("b")
	requireLogin(t, auth0, login, "a", "b")
	requireLogin(t, auth0, login, "b")
	mounted.update(`["c","a","b"]`)
	requireNoError(t, login.secrets.Refresh())
	requireLogin(t, auth0, login, "b")
}

func TestFollowsStagedRotationByWatching(t *testing.T) {
	mounted := newMountedSecret(t, `["old"]`)
	auth0, login := newLogin(t, mounted)
	requireNoError(t, login.secrets.Watch(t.Context()))
	auth0.accept("old")
	requireLogin(t, auth0, login, "old")

	mounted.update(`["old","new"]`)
	deadline := time.Now().Add(10 * time.Second)
	for len(login.secrets.List()) != 2 {
		if time.Now().After(deadline) {
			t.Fatal("the new list was not read within 10 s")
		}
		time.Sleep(5 * time.Millisecond)
	}
	requireLogin(t, auth0, login, "old")

	auth0.accept("new")
	requireLogin(t, auth0, login, "old", "new")
	requireLogin(t, auth0, login, "new")
}

func TestReadsListAgainBeforeGivingUp(t *testing.T) {
	mounted := newMountedSecret(t, `["old"]`)
	auth0, login := newLogin(t, mounted)
	mounted.update(`["new","old"]`)
	auth0.accept("new")
	requireLogin(t, auth0, login, "old", "new")

	auth0.accept("other")
	if _, tries, err := login.Token(t.Context()); err != ErrAllSecretsRejected || tries != 4 {
		t.Fatalf("%d tries, %v", tries, err)
	}
}

func TestKeepsPreviousListWhenContentIsInvalid(t *testing.T) {
	mounted := newMountedSecret(t, `["good"]`)
	auth0, login := newLogin(t, mounted)
	auth0.accept("good")
	for _, invalid := range []string{
		"", "hidden", `{"hidden":1}`, "[]", `[""]`, `["hidden",3]`, `["hidden"`,
	} {
		mounted.update(invalid)
		err := login.secrets.Refresh()
		if err == nil || !strings.Contains(err.Error(), "not a JSON array") {
			t.Fatalf("%q: %v", invalid, err)
		}
		if strings.Contains(err.Error(), "hidden") {
			t.Fatalf("the error contains the content: %v", err)
		}
		requireLogin(t, auth0, login, "good")
	}
	if _, err := NewSecretsFromDir(newMountedSecret(t, "invalid").dir); err == nil {
		t.Fatal("accepted an invalid first list")
	}
}

func TestTriesNextSecretOnlyAfter401(t *testing.T) {
	auth0, login := newLogin(t, newMountedSecret(t, `["a","b"]`))
	for _, status := range []int{403, 429, 500} {
		auth0.status = status
		if _, tries, err := login.Token(t.Context()); err == nil || tries != 1 {
			t.Fatalf("status %d: %d tries, %v", status, tries, err)
		}
	}
}

func TestReadsListFromEnvironmentVariable(t *testing.T) {
	t.Setenv("LIST", `["a","b"]`)
	secrets, err := NewSecretsFromEnv("LIST")
	if err != nil || !slices.Equal(secrets.List(), []string{"a", "b"}) {
		t.Fatal(err)
	}
	t.Setenv("LIST", "a")
	if _, err := NewSecretsFromEnv("LIST"); err == nil {
		t.Fatal("accepted an invalid list")
	}
}
