// SPDX-License-Identifier: Apache-2.0

// Package quota stands in for moby's, which Debian's sources leave out: a machine without project quotas.
package quota

import "errors"

// ErrQuotaNotSupported is what a driver answers that has no quotas.
var ErrQuotaNotSupported = errors.New("filesystem does not support, or has not enabled quotas")

// Quota is the limit of a layer.
type Quota struct {
	Size uint64
}

// Control would set quotas below a directory.
type Control struct{}

// NewControl always fails.
func NewControl(string) (*Control, error) {
	return nil, ErrQuotaNotSupported
}

// SetQuota always fails.
func (*Control) SetQuota(string, Quota) error {
	return ErrQuotaNotSupported
}
