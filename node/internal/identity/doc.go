// Package identity holds who a node is: its client certificate (system:node:NAME), with which it
// talks to the API server, and its serving certificate, with which its own API answers.
//
// A new node shows its bootstrap token once and asks for the client certificate; everything later is
// asked for with that. Certificates are asked for by CertificateSigningRequest, approved and signed
// in the server, and replaced when 70 to 80 % of their life is over or the node's addresses have changed. The
// users of a certificate do not notice: connections to the API server are made anew, and a TLS
// handshake always gets the present one.
//
// # Guarantees
//
// A private key never leaves the machine. DIR is 0700, and in it kubelet-client-current.pem and
// kubelet-server-current.pem, each certificate and key in one file, are 0600 and replaced whole: a
// reader sees the old pair or the new one. A certificate is stored before it is used.
package identity
