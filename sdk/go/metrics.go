package bumpless

import (
	"fmt"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"
)

var buckets = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

var started = time.Now()

// Counter counts by one set of label values. Name and labels are fixed when it is declared.
type Counter struct {
	name, help string
	labels     []string
	mu         sync.Mutex
	values     map[string]float64
}

// Inc adds one. Label values must come from small sets.
func (c *Counter) Inc(values ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.values[series(c.labels, values)]++
}

func (c *Counter) expose(out *strings.Builder) {
	c.mu.Lock()
	defer c.mu.Unlock()
	describe(out, c.name, c.help, "counter")
	keys := make([]string, 0, len(c.values))
	for key := range c.values {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	for _, key := range keys {
		fmt.Fprintf(out, "%s%s %s\n", c.name, key, format(c.values[key]))
	}
}

type durations struct {
	mu     sync.Mutex
	counts []uint64
	sum    float64
	count  uint64
}

func (d *durations) observe(seconds float64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sum += seconds
	d.count++
	for at, bound := range buckets {
		if seconds <= bound {
			d.counts[at]++
		}
	}
}

func (d *durations) expose(out *strings.Builder, name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	describe(out, name, "From head to last byte written.", "histogram")
	for at, bound := range buckets {
		fmt.Fprintf(out, "%s_bucket{le=%q} %d\n", name, format(bound), d.counts[at])
	}
	fmt.Fprintf(out, "%s_bucket{le=\"+Inf\"} %d\n%s_sum %s\n%s_count %d\n", name, d.count, name, format(d.sum), name, d.count)
}

func gauge(out *strings.Builder, name, help, labels string, value float64) {
	describe(out, name, help, "gauge")
	fmt.Fprintf(out, "%s%s %s\n", name, labels, format(value))
}

func describe(out *strings.Builder, name, help, kind string) {
	fmt.Fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

func series(labels, values []string) string {
	if len(labels) != len(values) {
		panic(fmt.Sprintf("expected a value for each of the labels %v, found %v", labels, values))
	}
	pairs := make([]string, len(labels))
	for at, label := range labels {
		pairs[at] = label + "=" + strconv.Quote(values[at])
	}
	if len(pairs) == 0 {
		return ""
	}
	return "{" + strings.Join(pairs, ",") + "}"
}

func format(value float64) string {
	return strconv.FormatFloat(value, 'g', -1, 64)
}
