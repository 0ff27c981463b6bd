#include "hardened/prim/kernel.h"

#include <fcntl.h>
#include <link.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "gtest/gtest.h"
#include "hardened/prim/vdso.h"

namespace hardened::prim {
namespace {

const void* Vdso() { return reinterpret_cast<const void*>(getauxval(AT_SYSINFO_EHDR)); }

// The pages of the vDSO; it is one mapping, whose end the kernel does not tell otherwise.
std::vector<char> CopyOfVdso() {
  const auto start = static_cast<const char*>(Vdso());
  size_t bytes = 0;
  const auto* const header = reinterpret_cast<const ElfW(Ehdr)*>(start);
  const auto* const segments = reinterpret_cast<const ElfW(Phdr)*>(start + header->e_phoff);
  for (int i = 0; i < header->e_phnum; ++i) {
    if (segments[i].p_type == PT_LOAD) bytes = segments[i].p_offset + segments[i].p_filesz;
  }
  return std::vector<char>(start, start + bytes);
}

TEST(KernelTest, ErrorsAreNegativeAndErrnoIsLeftAlone) {
  errno = 77;
  EXPECT_EQ(kernel::Open(AT_FDCWD, "/no/such/file", O_RDONLY), -ENOENT);
  EXPECT_TRUE(kernel::IsError(-ENOENT));
  EXPECT_TRUE(kernel::IsError(kernel::Map(nullptr, 0, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS)));
  EXPECT_EQ(kernel::Unmap(reinterpret_cast<void*>(1), 4096), -EINVAL);
  EXPECT_EQ(errno, 77);
}

TEST(KernelTest, SixArgumentsArriveInOrder) {
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  EXPECT_EQ(kernel::Write(pipe_ends[1], "abc", 3), 3);
  char text[4] = {};
  EXPECT_EQ(kernel::Read(pipe_ends[0], text, sizeof(text)), 3);
  EXPECT_STREQ(text, "abc");
  kernel::Close(pipe_ends[0]);
  kernel::Close(pipe_ends[1]);
  // The offset, the last of six, reaches the kernel.
  const int fd = open("/proc/self/exe", O_RDONLY);
  const long second = kernel::SystemCall(SYS_mmap, nullptr, 4096, PROT_READ, MAP_PRIVATE, fd, 4096);
  ASSERT_FALSE(kernel::IsError(second));
  char wanted[64];
  ASSERT_EQ(pread(fd, wanted, sizeof(wanted), 4096), static_cast<ssize_t>(sizeof(wanted)));
  EXPECT_EQ(memcmp(reinterpret_cast<void*>(second), wanted, sizeof(wanted)), 0);
  EXPECT_EQ(kernel::Unmap(reinterpret_cast<void*>(second), 4096), 0);
  close(fd);
}

TEST(KernelTest, MappedMemoryCanBeUsedAndMoved) {
  constexpr size_t kBytes = 8192;
  const long mapped =
      kernel::Map(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
  ASSERT_FALSE(kernel::IsError(mapped));
  char* start = reinterpret_cast<char*>(mapped);
  start[0] = 1;
  const long moved = kernel::Remap(start, kBytes, 2 * kBytes, MREMAP_MAYMOVE, nullptr);
  ASSERT_FALSE(kernel::IsError(moved));
  start = reinterpret_cast<char*>(moved);
  EXPECT_EQ(start[0], 1);
  EXPECT_EQ(kernel::Advise(start, kBytes, MADV_DONTNEED), 0);
  EXPECT_EQ(start[0], 0);
  EXPECT_EQ(kernel::Unmap(start, 2 * kBytes), 0);
}

TEST(KernelTest, ClocksAreThoseOfLibc) {
  for (const clockid_t clock : {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_MONOTONIC_COARSE}) {
    timespec before, now, after;
    clock_gettime(clock, &before);
    ASSERT_EQ(kernel::ReadClock(clock, &now), 0);
    clock_gettime(clock, &after);
    const auto number = [](const timespec& t) { return t.tv_sec * 1'000'000'000L + t.tv_nsec; };
    EXPECT_LE(number(before), number(now));
    EXPECT_LE(number(now), number(after));
  }
  timespec unused;
  EXPECT_EQ(kernel::ReadClock(9999, &unused), -EINVAL);
}

TEST(VdsoTest, TheClockIsFoundWhereThereIsAVdso) {
  if (Vdso() == nullptr) GTEST_SKIP() << "this process has no vDSO";
  EXPECT_NE(VdsoClock(), nullptr);
  EXPECT_EQ(FindInImage(Vdso(), "__vdso_no_such_function"), nullptr);
}

TEST(VdsoTest, EitherKindOfHashTableWillDo) {
  if (Vdso() == nullptr) GTEST_SKIP() << "this process has no vDSO";
  const auto offset_of = [](const std::vector<char>& image) -> intptr_t {
    char* found = static_cast<char*>(FindInImage(image.data(), "__vdso_time"));
    return found == nullptr ? -1 : found - image.data();
  };
  const intptr_t whole = offset_of(CopyOfVdso());
#if defined(__x86_64__)
  ASSERT_GT(whole, 0);
#endif
  int kinds = 0;
  for (const ElfW(Sxword) hidden : {DT_HASH, static_cast<int>(DT_GNU_HASH)}) {
    std::vector<char> image = CopyOfVdso();
    const auto* const header = reinterpret_cast<const ElfW(Ehdr)*>(image.data());
    const auto* segment = reinterpret_cast<const ElfW(Phdr)*>(image.data() + header->e_phoff);
    while (segment->p_type != PT_DYNAMIC) ++segment;
    auto* entry = reinterpret_cast<ElfW(Dyn)*>(image.data() + segment->p_offset);
    bool other = false;
    for (; entry->d_tag != DT_NULL; ++entry) {
      if (entry->d_tag == hidden) {
        entry->d_tag = DT_DEBUG;
      } else if (entry->d_tag == DT_HASH || entry->d_tag == DT_GNU_HASH) {
        other = true;
      }
    }
    EXPECT_EQ(offset_of(image), other ? whole : -1);
    ++kinds;
  }
  EXPECT_EQ(kinds, 2);
}

TEST(VdsoTest, WhatIsNoImageHasNoFunctions) {
  alignas(16) char nothing[4096] = {};
  EXPECT_EQ(FindInImage(nothing, "__vdso_time"), nullptr);
}

}  // namespace
}  // namespace hardened::prim
