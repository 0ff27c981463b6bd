// error_stream: messages to descriptor 2, which is the program's.
//
// By the time of a message number 2 may be anything: a program that closes it gets its next file
// under that number. So it is looked at each time. Written to is what was descriptor 2 at the
// start, whatever it is (`prog 2>file` included: at the shared offset, where the program's own
// messages go). Of what has taken its place since,
//
//   terminals;
//   pipes, unless they are O_CLOEXEC, which no error stream is;
//   files that are opened for appending and are open under another low number, too: a log that the
//   program has made its error stream by dup2().
//
// Other files, devices and sockets (connections that a server accepted) are left alone.
//
// A message waits half a second for room at most, and once that was in vain later ones do not wait.
// A broken pipe, a limit of file sizes or a terminal that stops background output raises no signal.
// No flag of the descriptor is changed: others share it.
//
// Misses: a writer that takes the room of a pipe between poll() and write() of a message.
//
// Threads: any. Signals: safe, also in a child of vfork. Takes no lock, leaves errno as it was.

#ifndef HARDENED_PRIM_ERROR_STREAM_H_
#define HARDENED_PRIM_ERROR_STREAM_H_

#include <string_view>

namespace hardened::prim {

// What descriptor 2 is now is where messages go from now on. At the start of the process.
void NoteErrorStream();

// Writes a message of at most 4096 bytes (in one piece, where the descriptor is a pipe or a file).
// The first call notes what descriptor 2 is, when nobody has.
// Returns: whether all of it was written.
bool WriteMessage(std::string_view text);

}  // namespace hardened::prim

#endif  // HARDENED_PRIM_ERROR_STREAM_H_
