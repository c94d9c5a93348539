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

// Secrets are the values to try, in their order.
type Secrets struct {
	folder string
	read   func() ([]byte, error)

	mu   sync.RWMutex
	list []string
}

// FromFolder reads client_secrets from a mounted Secret.
func FromFolder(folder string) (*Secrets, error) {
	path := filepath.Join(folder, "client_secrets")
	secrets := &Secrets{folder: folder, read: func() ([]byte, error) { return os.ReadFile(path) }}
	return secrets, secrets.Refresh()
}

// FromEnvironment reads the list from a variable. It never changes: the process has to be
// restarted (consumers.restart) to see another one.
func FromEnvironment(name string) (*Secrets, error) {
	secrets := &Secrets{read: func() ([]byte, error) { return []byte(os.Getenv(name)), nil }}
	return secrets, secrets.Refresh()
}

// List returns the values that were read last.
func (s *Secrets) List() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.list
}

// Refresh reads the list anew. What can't be read leaves the list as it was.
func (s *Secrets) Refresh() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	text, err := s.read()
	if err != nil {
		return fmt.Errorf("client_secrets: %w", err)
	}
	list, err := parse(text)
	if err != nil {
		return err
	}
	if !slices.Equal(list, s.list) {
		s.list = list
		say(map[string]any{"list": len(list)})
	}
	return nil
}

// parse says nothing of the text: it has secrets.
func parse(text []byte) ([]string, error) {
	var list []string
	if json.Unmarshal(text, &list) != nil || len(list) == 0 || slices.Contains(list, "") {
		return nil, errors.New("client_secrets is not a JSON list of one or more secrets")
	}
	return list, nil
}

// Watch refreshes the list when the folder changes, until ctx ends. The folder is watched, not the
// file: the kubelet replaces the link ..data in it.
func (s *Secrets) Watch(ctx context.Context) error {
	if s.folder == "" {
		return nil
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return err
	}
	if err := watcher.Add(s.folder); err != nil {
		return errors.Join(err, watcher.Close())
	}
	// What changed before it was watched.
	s.refreshOrComplain()
	go func() {
		defer watcher.Close()
		for {
			select {
			case <-ctx.Done():
				return
			case <-watcher.Events:
				s.refreshOrComplain()
			case <-watcher.Errors:
				// Events were lost, perhaps.
				s.refreshOrComplain()
			}
		}
	}()
	return nil
}

func (s *Secrets) refreshOrComplain() {
	if err := s.Refresh(); err != nil {
		fmt.Fprintln(os.Stderr, "consumer: the list stays as it was:", err)
	}
}
