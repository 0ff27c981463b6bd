// What every attack program is made of: one crime, named by the build, and how it ends.
//
// The build defines CRIME (a function of the file), SIZE (bytes of a block) and COUNT (what the
// file says it counts). Built with -O0 -fno-builtin -w: every call and access is made as written.
//
// The last line of stdout says what the attacker achieved. A process that is killed before that
// line stands there was stopped.
#ifndef TOOLS_ATTACKS_ATTACK_H_
#define TOOLS_ATTACKS_ATTACK_H_

#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

constexpr size_t kSize = SIZE;
constexpr size_t kCount = COUNT;
// What an attacker writes, and what must not be read: each as one word.
constexpr uintptr_t kEvil = 0x6c6976656c697665;
constexpr uintptr_t kSecret = 0x7465726365737365;
// Ends a program that nobody watches any more; tools/attack is quicker.
constexpr unsigned kLongestSeconds = 10;

enum Verdict { kUndetected, kSucceeded, kFailed, kNotStaged };

Verdict CRIME();

// Not by dprintf, which allocates: nothing is to come between a goal and its report.
inline void Say(const char* line) {
  write(STDOUT_FILENO, line, strlen(line));
}

int main() {
  alarm(kLongestSeconds);
  const Verdict verdict = CRIME();
  static const char* const kWords[] = {"undetected\n", "succeeded\n", "failed\n", "not staged\n"};
  Say(kWords[verdict]);
  // What a check at exit finds is stopped in time, unless the goal was reached before.
  if (verdict == kSucceeded) _exit(0);
  exit(verdict == kNotStaged ? 3 : 0);
}

inline char* Get(size_t size = kSize) {
  void* const block = malloc(size);
  if (block == nullptr) {
    Say("no memory\n");
    _exit(3);
  }
  return static_cast<char*>(block);
}

inline uintptr_t* Words(void* block) { return static_cast<uintptr_t*>(block); }

inline void FillWords(void* block, size_t size, uintptr_t word) {
  for (size_t i = 0; i < size / sizeof word; ++i) Words(block)[i] = word;
}

inline bool Contains(void* block, size_t size, uintptr_t word) {
  for (size_t i = 0; i < size / sizeof word; ++i) {
    if (Words(block)[i] == word) return true;
  }
  return false;
}

// Whether two of the blocks of kSize bytes share memory. Overwrites them.
inline bool Overlap(char** blocks, size_t count) {
  for (size_t i = 0; i < count; ++i) FillWords(blocks[i], kSize, i);
  for (size_t i = 0; i < count; ++i) {
    if (Words(blocks[i])[0] != i || Words(blocks[i])[kSize / 8 - 1] != i) return true;
  }
  return false;
}

// By pthread_create: std::thread would allocate, perhaps the very block just freed.
template <class Function>
void InThread(Function function) {
  pthread_t thread;
  auto run = [](void* argument) -> void* {
    (*static_cast<Function*>(argument))();
    return nullptr;
  };
  pthread_create(&thread, nullptr, run, &function);
  pthread_join(thread, nullptr);
}

#endif  // TOOLS_ATTACKS_ATTACK_H_
