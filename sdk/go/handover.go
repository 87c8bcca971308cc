package bumpless

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

const envelope = 1

// Handover is state that an exclusive service leaves to its successor. Format is the service's own affair.
type Handover struct {
	Format int
	Writer string // the version that wrote it
	State  []byte // JSON, unless Bytes
	Bytes  bool
}

type handoverHead struct {
	Handover int    `json:"handover"`
	Format   int    `json:"format"`
	Encoding string `json:"encoding"`
	Writer   string `json:"writer"`
}

// WriteHandover makes the file appear whole or not at all: one line of head, then the state.
func WriteHandover(path string, left Handover) error {
	head := handoverHead{envelope, left.Format, "json", left.Writer}
	if left.Bytes {
		head.Encoding = "bytes"
	} else if !json.Valid(left.State) {
		return fmt.Errorf("expected the state as JSON, found %.80q", left.State)
	}
	line, err := json.Marshal(head)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	aside := fmt.Sprintf("%s.%d", path, os.Getpid())
	file, err := os.OpenFile(aside, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(append(append(line, '\n'), left.State...))
	err = firstOf(err, file.Sync())
	err = firstOf(err, file.Close())
	if err != nil {
		return err
	}
	return os.Rename(aside, path)
}

// ReadHandover returns nil where nobody left anything.
func ReadHandover(path string) (*Handover, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	line, state, _ := bytes.Cut(data, []byte{'\n'})
	var head handoverHead
	if err := json.Unmarshal(line, &head); err != nil || head.Handover != envelope {
		return nil, fmt.Errorf("expected a handover of version %d in %s, found %.80q", envelope, path, line)
	}
	return &Handover{head.Format, head.Writer, state, head.Encoding == "bytes"}, nil
}

func firstOf(one, other error) error {
	if one != nil {
		return one
	}
	return other
}
