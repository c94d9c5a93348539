package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/fsnotify/fsnotify"
)

// Secrets is the list of client secrets, in the order in which to try them.
type Secrets struct {
	dir  string
	read func() ([]byte, error)

	mu   sync.RWMutex
	list []string
}

// NewSecretsFromDir reads the file client_secrets in the directory of a mounted Secret.
func NewSecretsFromDir(dir string) (*Secrets, error) {
	path := filepath.Join(dir, "client_secrets")
	secrets := &Secrets{dir: dir, read: func() ([]byte, error) { return os.ReadFile(path) }}
	return secrets, secrets.Refresh()
}

// NewSecretsFromEnv reads the list from an environment variable. That list never changes: the
// process must be restarted (spec.consumers.restart) to receive a new one.
func NewSecretsFromEnv(name string) (*Secrets, error) {
	secrets := &Secrets{read: func() ([]byte, error) { return []byte(os.Getenv(name)), nil }}
	return secrets, secrets.Refresh()
}

// List returns the list that was read last.
func (s *Secrets) List() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.list
}

// Refresh reads the list again. If it returns an error, it keeps the previous list.
func (s *Secrets) Refresh() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	text, err := s.read()
	if err != nil {
		return fmt.Errorf("client_secrets: %w", err)
	}
	list, err := parseList(text)
	if err != nil {
		return err
	}
	if !slices.Equal(list, s.list) {
		s.list = list
		printJSON(map[string]any{"list": len(list)})
	}
	return nil
}

// parseList parses a JSON array of secrets. Its error omits the text, which may contain secrets.
func parseList(text []byte) ([]string, error) {
	var list []string
	if json.Unmarshal(text, &list) != nil || len(list) == 0 || slices.Contains(list, "") {
		return nil, errors.New("client_secrets is not a JSON array of one or more secrets")
	}
	return list, nil
}

// Watch refreshes the list whenever the directory changes, until ctx is done. It watches the
// directory, not the file, because the kubelet replaces the symbolic link ..data in it.
func (s *Secrets) Watch(ctx context.Context) error {
	if s.dir == "" {
		return nil
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return err
	}
	if err := watcher.Add(s.dir); err != nil {
		return errors.Join(err, watcher.Close())
	}
	// The file may have changed before the watch started.
	s.refreshOrLog()
	go func() {
		defer watcher.Close()
		for {
			select {
			case <-ctx.Done():
				return
			case <-watcher.Events:
				s.refreshOrLog()
			case <-watcher.Errors:
				// Events may have been lost.
				s.refreshOrLog()
			}
		}
	}()
	return nil
}

func (s *Secrets) refreshOrLog() {
	if err := s.Refresh(); err != nil {
		fmt.Fprintln(os.Stderr, "consumer: keeping the previous list:", err)
	}
}
