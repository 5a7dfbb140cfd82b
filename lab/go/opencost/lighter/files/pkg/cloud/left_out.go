package cloud

import "fmt"

// LeftOut is the configuration of a cloud's bill in the lab's OpenCost, which has none: it is never valid.
type LeftOut struct {
	Cloud string
}

func (l *LeftOut) Validate() error {
	return fmt.Errorf("the bill of %s is left out of the lab's OpenCost", l.Cloud)
}

func (l *LeftOut) Sanitize() Config { return l }

func (l *LeftOut) Equals(Config) bool { return false }

func (l *LeftOut) Key() string { return l.Cloud }

func (l *LeftOut) Provider() string { return l.Cloud }
