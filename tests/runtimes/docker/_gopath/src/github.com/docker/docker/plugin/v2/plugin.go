// SPDX-License-Identifier: Apache-2.0

// Package v2 stands in for moby's, which Debian's sources leave out: no plugin is managed by docker.
package v2

import "github.com/docker/docker/pkg/plugins"

// Plugin has what graphdriver looks at. There never is one.
type Plugin struct {
	PluginObj struct {
		Config struct {
			PropagatedMount string
		}
	}
}

// Name would be the plugin's.
func (*Plugin) Name() string { return "" }

// ScopedPath would be where the daemon sees a path of the plugin's.
func (*Plugin) ScopedPath(path string) string { return path }

// IsV1 says that it is not a legacy plugin.
func (*Plugin) IsV1() bool { return false }

// Client would speak to it.
func (*Plugin) Client() *plugins.Client { return nil }
