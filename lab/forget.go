package lab

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// forgetProgram gives back the memory that maps those parts of our own program which are only read.
// Starting has touched most of it, and the first process of a box needs next to nothing of that
// again; what it does need, the kernel maps again from the page cache, which the server and the
// agents share with us.
func forgetProgram() {
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return
	}
	defer maps.Close()
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	for s := bufio.NewScanner(maps); s.Scan(); {
		// 00400000-02d6b000 r-xp 00000000 fe:00 1234   /usr/bin/duet
		f := strings.Fields(s.Text())
		if len(f) < 6 || f[5] != self || strings.Contains(f[1], "w") {
			continue
		}
		var from, to uintptr
		if _, err := fmt.Sscanf(f[0], "%x-%x", &from, &to); err == nil {
			_, _, _ = unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTNEED)
		}
	}
}
