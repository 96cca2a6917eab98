// Package pause makes the image of a Pod's first container, which holds the Pod's namespaces and
// does nothing else, and puts it into a containerd. It is built here, in memory, from a few machine
// instructions: no compiler, no file without a source, no registry to be reached.
//
// It is a driver: it knows containerd and nothing of this program. Only package assemble imports it.
package pause

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
)

// The program, in the order that it runs:
//
//	signal(SIGCHLD, SIG_IGN)   where the Pod's containers share processes, we are the one who must
//	                           reap orphans; the kernel does it for those who ignore SIGCHLD
//	for { pause() }            SIGKILL ends it; as process 1 it ignores all other signals
//
// A struct sigaction of the kernel follows the code: {SIG_IGN, 0, 0, 0}, 8 bytes each.
var sigaction = []byte{
	1, 0, 0, 0, 0, 0, 0, 0, // handler: SIG_IGN
	0, 0, 0, 0, 0, 0, 0, 0, // flags
	0, 0, 0, 0, 0, 0, 0, 0, // restorer on amd64, mask on arm64
	0, 0, 0, 0, 0, 0, 0, 0, // mask on amd64
}

// machine is the program for one processor.
type machine struct {
	id   elf.Machine
	code []byte
}

// machines by the name of the processor, as Go and images have it.
var machines = map[string]machine{
	"amd64": {elf.EM_X86_64, []byte{
		0xb8, 13, 0, 0, 0, //                   mov eax, 13      rt_sigaction(
		0xbf, 17, 0, 0, 0, //                   mov edi, 17        SIGCHLD,
		0x48, 0x8d, 0x35, 19, 0, 0, 0, //       lea rsi, [rip+19]  &sigaction,
		0x31, 0xd2, //                          xor edx, edx       NULL,
		0x41, 0xba, 8, 0, 0, 0, //              mov r10d, 8        8)
		0x0f, 0x05, //                          syscall
		0xb8, 34, 0, 0, 0, //             loop: mov eax, 34      pause()
		0x0f, 0x05, //                          syscall
		0xeb, 0xf7, //                          jmp loop
	}},
	"arm64": {elf.EM_AARCH64, words(
		0xd28010c8, //       mov x8, #134      rt_sigaction(
		0xd2800220, //       mov x0, #17         SIGCHLD,
		0x10000161, //       adr x1, .+44        &sigaction,
		0xd2800002, //       mov x2, #0          NULL,
		0xd2800103, //       mov x3, #8          8)
		0xd4000001, //       svc #0
		0xd2800928, // loop: mov x8, #73       ppoll(
		0xd2800000, //       mov x0, #0          NULL,
		0xd2800001, //       mov x1, #0          0,
		0xd2800002, //       mov x2, #0          NULL,
		0xd2800003, //       mov x3, #0          NULL)
		0xd4000001, //       svc #0
		0x17fffffa, //       b loop
	)},
}

func words(list ...uint32) []byte {
	var out []byte
	for _, w := range list {
		out = binary.LittleEndian.AppendUint32(out, w)
	}
	return out
}

// Program returns the program for a processor as an executable file, or an error if it is unknown.
func Program(arch string) ([]byte, error) {
	m, ok := machines[arch]
	if !ok {
		return nil, fmt.Errorf("no pause program for %s", arch)
	}
	const base, headers = 0x400000, 64 + 56
	content := append(bytes.Clone(m.code), sigaction...)
	size := uint64(headers + len(content))
	header := elf.Header64{
		Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_EXEC), Machine: uint16(m.id), Version: uint32(elf.EV_CURRENT),
		Entry: base + headers, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1,
	}
	segment := elf.Prog64{
		Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Vaddr: base, Paddr: base,
		Filesz: size, Memsz: size, Align: 0x1000,
	}
	var out bytes.Buffer
	for _, part := range []any{header, segment, content} {
		if err := binary.Write(&out, binary.LittleEndian, part); err != nil {
			return nil, fmt.Errorf("write the pause program: %w", err)
		}
	}
	return out.Bytes(), nil
}
