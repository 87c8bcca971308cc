package bumpless

import (
	"sync"
	"time"
)

// door is what accepting and reading pass through: shut, nobody is inside, so what arrives next is for others.
type door struct {
	deadline func(time.Time) // of whoever waits inside
	mu       sync.Mutex
	changed  *sync.Cond
	open     bool
	closed   bool
	inside   int
}

func newDoor(deadline func(time.Time)) *door {
	d := &door{deadline: deadline}
	d.changed = sync.NewCond(&d.mu)
	return d
}

// set opens or shuts. One that was woken for something arrived still takes it, so shut waits until they have left.
func (d *door) set(open bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open = open
	if open {
		d.deadline(time.Time{})
	} else {
		d.deadline(time.Unix(1, 0))
	}
	d.changed.Broadcast()
	for !d.open && !d.closed && d.inside > 0 {
		d.changed.Wait()
	}
}

// enter waits while the door is shut; false says that it was closed for good.
func (d *door) enter() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for !d.open && !d.closed {
		d.changed.Wait()
	}
	if d.closed {
		return false
	}
	d.inside++
	return true
}

func (d *door) leave() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.inside--
	d.changed.Broadcast()
}

// close is for good; false says that it was closed before.
func (d *door) close() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	d.closed = true
	d.changed.Broadcast()
	return true
}
