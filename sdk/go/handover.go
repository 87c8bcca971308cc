package bumpless

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
)

const (
	handoverFormat = "bumpless-handover/1"
	maxHead        = 4096
	maxState       = 1 << 30
)

// Handover is the state that one process of a component leaves for the next, and who wrote it.
type Handover struct {
	State             []byte
	Version, Instance string
}

type handoverHead struct {
	Format    string `json:"format"`
	Component string `json:"component"`
	Version   string `json:"version"`
	Instance  string `json:"instance"`
	Size      int    `json:"size"`
	SHA256    string `json:"sha256"`
}

// WriteHandover puts left in place of what was there, in one step, and returns when it is on the disk.
func WriteHandover(path, component string, left Handover) error {
	if len(left.State) > maxState {
		return fmt.Errorf("expected a state of at most %d bytes, found %d", maxState, len(left.State))
	}
	head := handoverHead{handoverFormat, component, left.Version, left.Instance, len(left.State), digest(left.State)}
	line, err := json.Marshal(head)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	part := fmt.Sprintf("%s.%s-%d.part", path, left.Instance, os.Getpid())
	file, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(append(append(line, '\n'), left.State...))
	for _, step := range []func() error{file.Sync, file.Close} {
		if failed := step(); err == nil {
			err = failed
		}
	}
	if err == nil {
		err = os.Rename(part, path)
	}
	if err != nil {
		_ = os.Remove(part)
		return err
	}
	directory, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer directory.Close()
	return directory.Sync()
}

// ReadHandover returns what was left for component, nil where nothing was. What does not agree with its head is an
// error and is never handed out.
func ReadHandover(path, component string) (*Handover, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	line, state, ended := bytes.Cut(data, []byte{'\n'})
	var head handoverHead
	if !ended || len(line) >= maxHead || json.Unmarshal(line, &head) != nil {
		return nil, fmt.Errorf("expected a line with a JSON object, found %.40q", line)
	}
	switch {
	case head.Format != handoverFormat:
		return nil, fmt.Errorf("expected the format %s, found %q", handoverFormat, head.Format)
	case head.Component != component:
		return nil, fmt.Errorf("expected the state of %q, found that of %q", component, head.Component)
	case head.Size != len(state):
		return nil, fmt.Errorf("expected %d bytes of state, found %d", head.Size, len(state))
	case head.SHA256 != digest(state):
		return nil, errors.New("expected the state that was written, found another digest")
	}
	return &Handover{state, head.Version, head.Instance}, nil
}

func digest(state []byte) string {
	sum := sha256.Sum256(state)
	return hex.EncodeToString(sum[:])
}

// takeOver hands what was left to Restore, once. What cannot be read is told in outcome and gone on without.
func (s *Service) takeOver() error {
	outcome := "nothing was left"
	if s.Contract.HandoverFile != "" && s.Restore != nil {
		left, err := ReadHandover(s.Contract.HandoverFile, s.component())
		if err != nil {
			log.Printf("the state in %s is not taken: %v", s.Contract.HandoverFile, err)
			outcome = "not read: " + err.Error()
		}
		if left != nil {
			if err := s.Restore(*left); err != nil {
				return err
			}
			outcome = "taken from " + left.Instance
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outcome = outcome
	return nil
}

// leave writes what Save gives. A process that never began to work leaves what lies there alone.
func (s *Service) leave() error {
	if s.Contract.HandoverFile == "" || s.Save == nil || !s.active {
		return nil
	}
	state, err := s.Save()
	if err != nil {
		return err
	}
	left := Handover{state, s.Contract.Version, s.Contract.Instance}
	return WriteHandover(s.Contract.HandoverFile, s.component(), left)
}

func (s *Service) component() string {
	if s.Contract.Component != "" {
		return s.Contract.Component
	}
	return s.Name
}
