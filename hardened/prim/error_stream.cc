#include "hardened/prim/error_stream.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>

#include "hardened/prim/kernel.h"
#include "hardened/prim/signals.h"

namespace hardened::prim {
namespace {

using kernel::SystemCall;

constexpr long kPatienceNanoseconds = 500'000'000;
// A terminal has room for this much, when it has room.
constexpr size_t kTerminalPiece = 128;

// What descriptor 2 was at the start.
constinit std::atomic<bool> noted{false};
constinit std::atomic<uint64_t> noted_device{0};
constinit std::atomic<uint64_t> noted_inode{0};  // 0: it was closed
// A message has waited in vain.
constinit std::atomic<bool> stuck{false};

bool IsTerminal(uint64_t device) {
  const uint64_t type = device >> 8 & 0xfff;
  const uint64_t number = (device & 0xff) | (device >> 12 & 0xfff00);
  // /dev/pts, virtual consoles (above 63: serial lines), /dev/tty and /dev/console.
  return (type >= 136 && type <= 143) || (type == 4 && number < 64) || (type == 5 && number < 2);
}

bool IsFile(const struct stat& facts, uint64_t device, uint64_t inode) {
  return facts.st_ino == inode && facts.st_dev == device;
}

// Whether the file of descriptor 2 is open under another low number, too.
bool IsOpenElsewhere(const struct stat& facts) {
  constexpr int kLowNumbers = 32;
  for (int fd = 1; fd < kLowNumbers; ++fd) {
    struct stat other;
    if (fd != STDERR_FILENO && kernel::Stat(fd, &other) == 0 &&
        IsFile(other, facts.st_dev, facts.st_ino)) {
      return true;
    }
  }
  return false;
}

// Whether messages may go to descriptor 2, of which these are the facts.
bool IsErrorStream(const struct stat& facts) {
  if (!noted.load(std::memory_order_acquire)) NoteErrorStream();
  const uint64_t inode = noted_inode.load(std::memory_order_relaxed);
  if (inode != 0 && IsFile(facts, noted_device.load(std::memory_order_relaxed), inode)) return true;
  switch (facts.st_mode & S_IFMT) {
    case S_IFCHR:
      return IsTerminal(facts.st_rdev);
    case S_IFIFO:
      // 0, not FD_CLOEXEC.
      return SystemCall(SYS_fcntl, STDERR_FILENO, F_GETFD) == 0;
    case S_IFREG: {
      const long flags = SystemCall(SYS_fcntl, STDERR_FILENO, F_GETFL);
      return !kernel::IsError(flags) && (flags & O_APPEND) != 0 && IsOpenElsewhere(facts);
    }
    default:
      return false;
  }
}

// Waits until there is room, for *left at most, which then is what is left of it.
bool WaitForRoom(timespec* left) {
  pollfd descriptor = {.fd = STDERR_FILENO, .events = POLLOUT, .revents = 0};
  for (;;) {
    // The kernel writes back what is left.
    const long ready = SystemCall(SYS_ppoll, &descriptor, 1, left, nullptr, 0);
    if (ready > 0) return true;
    if (ready == 0) stuck.store(true, std::memory_order_relaxed);
    if (ready != -EINTR) return false;
  }
}

// Returns: 0, or minus the number of the error that kept `text` from being written whole.
long WriteInPieces(std::string_view text, size_t piece, bool may_fill) {
  timespec left = {
      .tv_sec = 0,
      .tv_nsec = stuck.load(std::memory_order_relaxed) ? 0 : kPatienceNanoseconds,
  };
  while (!text.empty()) {
    if (may_fill && !WaitForRoom(&left)) return -EAGAIN;
    const long result = kernel::Write(STDERR_FILENO, text.data(), std::min(piece, text.size()));
    if (result > 0) {
      text.remove_prefix(static_cast<size_t>(result));
    } else if (result != -EINTR) {
      return result == 0 ? -EIO : result;
    }
  }
  stuck.store(false, std::memory_order_relaxed);
  return 0;
}

}  // namespace

void NoteErrorStream() {
  struct stat facts;
  const bool open = kernel::Stat(STDERR_FILENO, &facts) == 0;
  noted_device.store(open ? facts.st_dev : 0, std::memory_order_relaxed);
  noted_inode.store(open ? facts.st_ino : 0, std::memory_order_relaxed);
  noted.store(true, std::memory_order_release);
}

bool WriteMessage(std::string_view text) {
  struct stat facts;
  if (kernel::Stat(STDERR_FILENO, &facts) != 0 || !IsErrorStream(facts)) return false;
  // What a write may raise. With SIGTTOU blocked the terminal takes the text.
  const SignalSet raised = SetOf(SIGPIPE) | SetOf(SIGXFSZ);
  const SignalSet before = BlockSignals(raised | SetOf(SIGTTOU));
  // What waits already stays: only a signal that was blocked can.
  const SignalSet waiting = (before & raised) != 0 ? PendingSignals() : 0;
  const long result = WriteInPieces(text, S_ISCHR(facts.st_mode) ? kTerminalPiece : text.size(),
                                    /*may_fill=*/!S_ISREG(facts.st_mode));
  if (result == -EPIPE) TakePendingSignal(SetOf(SIGPIPE) & ~waiting);
  if (result == -EFBIG) TakePendingSignal(SetOf(SIGXFSZ) & ~waiting);
  SetBlockedSignals(before);
  return result == 0;
}

}  // namespace hardened::prim
