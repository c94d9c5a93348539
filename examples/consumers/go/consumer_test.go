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

// auth0 accepts some secrets and keeps what it was asked.
type auth0 struct {
	mu       sync.Mutex
	accepted []string
	status   int
	asked    []string
}

func (a *auth0) accept(secrets ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.accepted, a.asked = secrets, nil
}

func (a *auth0) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	secret := r.PostFormValue("client_secret")
	a.asked = append(a.asked, secret)
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

// mount is a folder as the kubelet makes it.
type mount struct {
	t        *testing.T
	path     string
	versions int
}

func newMount(t *testing.T, content string) *mount {
	m := &mount{t: t, path: t.TempDir()}
	m.publish(content)
	if err := os.Symlink("..data/client_secrets", filepath.Join(m.path, "client_secrets")); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *mount) publish(content string) {
	m.t.Helper()
	m.versions++
	version := fmt.Sprintf("..%d", m.versions)
	must := func(err error) {
		if err != nil {
			m.t.Fatal(err)
		}
	}
	must(os.Mkdir(filepath.Join(m.path, version), 0o755))
	must(os.WriteFile(filepath.Join(m.path, version, "client_secrets"), []byte(content), 0o644))
	must(os.Symlink(version, filepath.Join(m.path, "..data_tmp")))
	must(os.Rename(filepath.Join(m.path, "..data_tmp"), filepath.Join(m.path, "..data")))
}

func newLogin(t *testing.T, m *mount) (*auth0, *Login) {
	t.Helper()
	tenant := &auth0{}
	server := httptest.NewServer(tenant)
	t.Cleanup(server.Close)
	t.Setenv("AUTH0_DOMAIN", "acme.eu.auth0.com")
	t.Setenv("AUTH0_ENDPOINT", server.URL)
	t.Setenv("AUTH0_AUDIENCE", "https://api.example")
	secrets, err := FromFolder(m.path)
	if err != nil {
		t.Fatal(err)
	}
	login, err := NewLogin(secrets, "shop")
	if err != nil {
		t.Fatal(err)
	}
	return tenant, login
}

// logsIn expects the secrets to be tried in this order, and the last to be accepted.
func logsIn(t *testing.T, tenant *auth0, login *Login, order ...string) {
	t.Helper()
	tenant.asked = nil
	token, tries, err := login.Token(t.Context())
	if err != nil || token.AccessToken != "token" {
		t.Fatalf("the login failed: %v", err)
	}
	if !slices.Equal(tenant.asked, order) || tries != len(order) {
		t.Fatalf("asked %v in %d tries, expected %v", tenant.asked, tries, order)
	}
}

func TestTheListIsTriedInItsOrderAndWhatWorksIsRemembered(t *testing.T) {
	m := newMount(t, `["a","b","c"]`)
	tenant, login := newLogin(t, m)
	tenant.accept("b")
	logsIn(t, tenant, login, "a", "b")
	logsIn(t, tenant, login, "b")
	m.publish(`["c","a","b"]`)
	if err := login.secrets.Refresh(); err != nil {
		t.Fatal(err)
	}
	logsIn(t, tenant, login, "b")
}

func TestAStagedRotationIsFollowedByWatching(t *testing.T) {
	m := newMount(t, `["old"]`)
	tenant, login := newLogin(t, m)
	if err := login.secrets.Watch(t.Context()); err != nil {
		t.Fatal(err)
	}
	tenant.accept("old")
	logsIn(t, tenant, login, "old")

	m.publish(`["old","new"]`)
	deadline := time.Now().Add(10 * time.Second)
	for len(login.secrets.List()) != 2 {
		if time.Now().After(deadline) {
			t.Fatal("the pair was not read")
		}
		time.Sleep(5 * time.Millisecond)
	}
	logsIn(t, tenant, login, "old")

	tenant.accept("new")
	logsIn(t, tenant, login, "old", "new")
	logsIn(t, tenant, login, "new")
}

func TestAFreshReadComesBeforeGivingUp(t *testing.T) {
	m := newMount(t, `["old"]`)
	tenant, login := newLogin(t, m)
	m.publish(`["new","old"]`)
	tenant.accept("new")
	logsIn(t, tenant, login, "old", "new")

	tenant.accept("another")
	if _, tries, err := login.Token(t.Context()); err != ErrRefused || tries != 4 {
		t.Fatalf("%d tries, %v", tries, err)
	}
}

func TestJunkLeavesTheListAsItWas(t *testing.T) {
	m := newMount(t, `["good"]`)
	tenant, login := newLogin(t, m)
	tenant.accept("good")
	for _, junk := range []string{"", "hunter2", `{"hunter2":1}`, "[]", `[""]`, `["hunter2",3]`, `["hunter2"`} {
		m.publish(junk)
		err := login.secrets.Refresh()
		if err == nil || !strings.Contains(err.Error(), "not a JSON list") {
			t.Fatalf("%q was taken: %v", junk, err)
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Fatalf("the error shows the content: %v", err)
		}
		logsIn(t, tenant, login, "good")
	}
	if _, err := FromFolder(newMount(t, "junk").path); err == nil {
		t.Fatal("a first list that is junk was taken")
	}
}

func TestOtherAnswersAreNoReasonToTryAnotherSecret(t *testing.T) {
	tenant, login := newLogin(t, newMount(t, `["a","b"]`))
	for _, status := range []int{403, 429, 500} {
		tenant.status = status
		if _, tries, err := login.Token(t.Context()); err == nil || tries != 1 {
			t.Fatalf("%d: %d tries, %v", status, tries, err)
		}
	}
}

func TestAVariableHasTheListToo(t *testing.T) {
	t.Setenv("LIST", `["a","b"]`)
	secrets, err := FromEnvironment("LIST")
	if err != nil || !slices.Equal(secrets.List(), []string{"a", "b"}) {
		t.Fatal(err)
	}
	t.Setenv("LIST", "a")
	if _, err := FromEnvironment("LIST"); err == nil {
		t.Fatal("junk was taken")
	}
}
