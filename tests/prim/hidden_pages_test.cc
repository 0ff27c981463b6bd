#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "gtest/gtest.h"
#include "hardened/prim/page_source.h"
#include "hardened/prim/system_info.h"
#include "tests/prim/child_process.h"
#include "tests/prim/deny_system_calls.h"

namespace hardened::prim {
namespace {

constexpr int kGuardInstall = 102;
constexpr size_t kPages = 8;

// Whether an access faults; the kernel tries.
bool Faults(const char* at) {
  return syscall(SYS_clock_gettime, CLOCK_MONOTONIC, at) == -1 && errno == EFAULT;
}

// Committed pages full of 'x'.
class Pages {
 public:
  Pages()
      : start_(static_cast<char*>(
            mmap(nullptr, bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))) {
    memset(start_, 'x', bytes());
  }
  ~Pages() { munmap(start_, bytes()); }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;

  char* start() { return start_; }
  size_t bytes() const { return kPages * PageSize(); }

 private:
  char* start_;
};

// With whatever guards this process can make now. Aborts where they are not as promised.
void UseHiddenPages() {
  LinuxPageSource source;
  Pages pages;
  char* const start = pages.start();
  const size_t bytes = pages.bytes();
  char* const last = start + bytes - 1024;
  const auto require = [](bool holds) {
    if (!holds) abort();
  };
  require(source.Hide(start, bytes));
  require(Faults(start) && Faults(last));
  require(source.Show(start, bytes));
  require(start[0] == 'x' && *last == 'x');
  require(source.Hide(start, bytes));
  require(source.GuardHidden(start, bytes));
  require(Faults(start) && Faults(last));
  require(source.RemoveGuard(start, bytes, GuardChange::kWhole));
  require(start[0] == 0 && *last == 0);
  start[0] = *last = 'y';
  const PageSourceCounters& counters = source.counters();
  require(counters.guard == counters.unguard);
}

TEST(HiddenPagesTest, KeepTheirContentsUntilTheyBecomeAGuard) { UseHiddenPages(); }

TEST(HiddenPagesTest, SoWhereGuardsAreMappings) {
  const ChildResult child = RunInChild([] {
    if (!DenyAdvice(kGuardInstall, EINVAL)) _exit(3);
    UseHiddenPages();
  });
  if (child.exited_with(3)) GTEST_SKIP() << "no seccomp filters";
  EXPECT_TRUE(child.exited_with(0)) << child.status;
}

}  // namespace
}  // namespace hardened::prim
