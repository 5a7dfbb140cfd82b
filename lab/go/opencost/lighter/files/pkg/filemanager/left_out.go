// Package filemanager stands in for OpenCost's: the lab exports no CSV file, and to no cloud.
package filemanager

import (
	"context"
	"errors"
	"os"
)

var (
	ErrNotFound = errors.New("not found")
	ErrLeftOut  = errors.New("the export of CSV files is left out of the lab's OpenCost")
)

// FileManager is OpenCost's own interface to where an export goes.
type FileManager interface {
	Download(ctx context.Context, f *os.File) error
	Upload(ctx context.Context, f *os.File) error
}

// NewFileManager refuses; without a path it says what OpenCost's own says.
func NewFileManager(filePath string) (FileManager, error) {
	if filePath == "" {
		return nil, errors.New("empty path")
	}
	return nil, ErrLeftOut
}
