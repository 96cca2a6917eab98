package node

import (
	"os"
	"path/filepath"
	"testing"
)

// A Pod with the node's resolver gets one that it can reach.
func TestReadResolvConf(t *testing.T) {
	const behind = "nameserver 192.0.2.1\nnameserver 2001:db8::1\n"
	for _, tt := range []struct{ name, file, behind, want string }{
		{"v4", "nameserver 192.0.2.53\n", behind, "nameserver 192.0.2.53\n"},
		{"v6", "nameserver 2001:db8::53\n", behind, "nameserver 2001:db8::53\n"},
		{"systemd-resolved", "# stub\nnameserver 127.0.0.53\noptions edns0\n", behind, behind},
		{"loopbacks of both families", "nameserver ::1\nnameserver 127.0.0.1\n", behind, behind},
		{"a loopback and another", "nameserver 127.0.0.1\nnameserver 192.0.2.53\n", behind, "nameserver 127.0.0.1\nnameserver 192.0.2.53\n"},
		{"a loopback, nothing behind it", "nameserver 127.0.0.1\n", "", "nameserver 127.0.0.1\n"},
		{"no servers", "search example.com\n", behind, "search example.com\n"},
		{"no file", "", behind, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			files := map[string]string{"file": tt.file, "behind": tt.behind}
			for name, text := range files {
				if text == "" {
					continue
				}
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got, err := readResolvConf(filepath.Join(dir, "file"), filepath.Join(dir, "behind"))
			if err != nil || string(got) != tt.want {
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}
