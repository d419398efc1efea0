// SPDX-License-Identifier: Apache-2.0

// call SOCKET METHOD [JSON]
//
// Makes a call of a graphdriver plugin and prints its answer, one line. The methods are Activate and those of
// GraphDriver (Init, Get, ...); JSON is {} where it is left out. Of ApplyDiff, {"ID": .., "Parent": ..} says where
// the tar on standard input goes; Diff writes a tar to standard output. A call that is refused ends it with 1 and its
// words. Init-and-wait is an Init whose client lives until its input ends.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"../rig"
)

func applyDiff(plugin *rig.Plugin, request string) ([]byte, error) {
	var layer struct{ ID, Parent string }
	if err := json.Unmarshal([]byte(request), &layer); err != nil {
		return nil, err
	}
	size, err := plugin.ApplyDiff(layer.ID, layer.Parent, os.Stdin)
	return []byte(fmt.Sprintf(`{"Size":%d}`, size)), err
}

func diff(plugin *rig.Plugin, request string) error {
	stream, err := plugin.Stream("Diff", strings.NewReader(request))
	if err != nil {
		return err
	}
	defer stream.Close()
	_, err = io.Copy(os.Stdout, stream)
	return err
}

func main() {
	if len(os.Args) < 3 || len(os.Args) > 4 {
		rig.Die("call: usage: call SOCKET METHOD [JSON]")
	}
	plugin, method, request := rig.New(os.Args[1]), os.Args[2], "{}"
	if len(os.Args) > 3 {
		request = os.Args[3]
	}
	var said []byte
	var err error
	switch method {
	case "Activate":
		said, err = plugin.Raw("Plugin.Activate", nil)
	case "ApplyDiff":
		said, err = applyDiff(plugin, request)
	case "Diff":
		if err := diff(plugin, request); err != nil {
			rig.Die("%v", err)
		}
		return
	case "Init-and-wait": // and lives until its input ends
		if said, err = plugin.Raw("Init", strings.NewReader(request)); err == nil {
			fmt.Println(strings.TrimSpace(string(said)))
			_, err = io.Copy(io.Discard, os.Stdin)
			said = nil
		}
	default:
		said, err = plugin.Raw(method, strings.NewReader(request))
	}
	if err != nil {
		rig.Die("%v", err)
	}
	fmt.Println(strings.TrimSpace(string(said)))
}
