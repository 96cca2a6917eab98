package translations

import "testing"

func TestWanted(t *testing.T) {
	rows := []struct {
		name string
		args []string
		env  map[string]string
		want bool
	}{
		{"server", []string{"duet", "server"}, map[string]string{"LANG": "de_DE.UTF-8"}, false},
		{"nothing set", []string{"duet", "kubectl", "get"}, nil, false},
		{"English", []string{"duet", "kubectl", "get"}, map[string]string{"LANG": "en_US.UTF-8"}, false},
		{"no language", []string{"duet", "kubectl", "get"}, map[string]string{"LANG": "C.UTF-8"}, false},
		{"German", []string{"duet", "kubectl", "get"}, map[string]string{"LANG": "de_DE.UTF-8"}, true},
		{"German, but messages", []string{"duet", "kubectl"}, map[string]string{"LC_MESSAGES": "en_GB.UTF-8", "LANG": "de_DE.UTF-8"}, false},
		{"completion", []string{"duet", "__complete", "kubectl"}, map[string]string{"LC_ALL": "ja_JP.UTF-8"}, true},
	}
	for _, row := range rows {
		if got := wanted(row.args, func(name string) string { return row.env[name] }); got != row.want {
			t.Errorf("%s: %t, want %t", row.name, got, row.want)
		}
	}
}
