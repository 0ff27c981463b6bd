#include "hardened/shim/process_policy.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/auxv.h>
#include <unistd.h>

#include <new>
#include <string_view>

#include "hardened/heap_plugs.h"
#include "hardened/prim/environment.h"
#include "hardened/prim/error_stream.h"
#include "hardened/prim/kernel.h"
#include "hardened/prim/raw_writer.h"
#include "hardened/prim/start_guard.h"
#include "hardened/prim/system_info.h"
#include "hardened/shim/active_heap.h"

// A program's own default, in the language of HARDENED_OPTIONS. Data, not a function: nothing of
// the program may run before its first allocation.
extern "C" [[gnu::weak, gnu::visibility("default")]] const char hardened_default_options[];

// What the runtimes of sanitizers have. Each of them is there before the first allocation.
extern "C" {
[[gnu::weak, gnu::visibility("default")]] void __asan_init();
[[gnu::weak, gnu::visibility("default")]] void __hwasan_init();
[[gnu::weak, gnu::visibility("default")]] void __lsan_init();
[[gnu::weak, gnu::visibility("default")]] void __memprof_init();
[[gnu::weak, gnu::visibility("default")]] void __msan_init();
[[gnu::weak, gnu::visibility("default")]] void __tsan_init();
}

namespace hardened::shim {
namespace {

using policies::Complaint;
using policies::Origin;
using policies::Setting;

constexpr int kMaxLines = 8;
constexpr size_t kMaxOptionsBytes = 4096;

constinit prim::Sealed<ProcessPolicy> process_policy;

// Says on descriptor 2 what does not count, and where it stands.
class Teller final : public policies::PolicyFileSink, public policies::RejectionSink {
 public:
  // Of texts that are no files.
  void set_source(std::string_view source) { source_ = source; }

  void BeginFile(std::string_view path) override { source_ = path; }
  void Refuse(std::string_view path, policies::Refusal refusal) override {
    Begin().Escaped(path).Text(": ").Text(policies::TextOf(refusal)).Text("; not read");
    End();
  }
  void Apply(Setting, uint64_t, uint32_t) override {}

  void Complain(Complaint complaint, std::string_view word, uint32_t line,
                uint32_t column) override {
    // Of a setting that is said twice the last one holds, here as in the tools.
    if (complaint == Complaint::kDuplicate) return;
    prim::RawWriter& out = Begin().Escaped(source_);
    if (!source_.empty() && source_[0] == '/') {
      out.Char(':').Decimal(line).Char(':').Decimal(column);
    }
    out.Text(": ").Text(policies::TextOf(complaint)).Text(": '").Escaped(word).Char('\'');
    End();
  }

  void Reject(Origin origin, Setting setting, uint64_t value,
              policies::Rejection rejection) override {
    prim::RawWriter& out = Begin();
    out.Text(policies::TextOf(origin)).Text(": ");
    out.Text(policies::FactsOf(setting).name).Char('=');
    policies::PrintValue(setting, value, out);
    out.Text(": ").Text(policies::TextOf(rejection));
    End();
  }

 private:
  prim::RawWriter& Begin() {
    out_.Clear();
    return out_.Text("hardened: ");
  }
  void End() {
    if (++lines_ > kMaxLines) return;
    out_.Char('\n');
    prim::WriteMessage(out_.view());
  }

  prim::RawWriter out_;
  std::string_view source_;
  int lines_ = 0;
};

// The path of this process's executable, in `buffer`; empty when the system does not tell.
std::string_view ExecutablePath(char* buffer, size_t capacity) {
  const long length = prim::kernel::ReadLink("/proc/self/exe", buffer, capacity);
  if (length > 0 && static_cast<size_t>(length) < capacity) {
    return {buffer, static_cast<size_t>(length)};
  }
  // Without /proc: what execve() was given, if that says where it is.
  const char* given = reinterpret_cast<const char*>(getauxval(AT_EXECFN));
  if (given == nullptr || given[0] != '/') return {};
  return given;
}

void ReadEnvironment(policies::Settings* settings, Teller& teller) {
  const char* const* environment = prim::ProcessEnvironment();
  const auto find = [&](std::string_view name) {
    teller.set_source(name);
    return prim::FindEnvironment(name, environment);
  };
  const std::string_view seed = find("HARDENED_SEED");
  uint64_t value = 0;
  Complaint complaint;
  if (seed.data() != nullptr) {
    if (policies::ParseValue(Setting::kSeed, seed, &value, &complaint)) {
      settings->Set(Setting::kSeed, value);
    } else {
      teller.Complain(complaint, seed, 1, 1);
    }
  }
  const std::string_view level = find("HARDENED_LEVEL");
  if (level.data() != nullptr) {
    if (policies::ParseValue(Setting::kLevel, level, &value, &complaint)) {
      settings->Set(Setting::kLevel, value);
    } else {
      teller.Complain(complaint, level, 1, 1);
    }
  }
  const std::string_view options = find("HARDENED_OPTIONS");
  if (options.data() == nullptr) return;
  policies::ParseSettings(options, ':', /*is_policy_file=*/false, settings, teller);
}

void ReadProgram(policies::Settings* settings, Teller& teller) {
  if (hardened_default_options == nullptr) return;
  size_t length = 0;
  while (length < kMaxOptionsBytes && hardened_default_options[length] != '\0') ++length;
  teller.set_source("hardened_default_options");
  policies::ParseSettings({hardened_default_options, length}, ':', /*is_policy_file=*/false,
                          settings, teller);
}

// Too large for the stack of a coroutine that is the first to allocate.
struct Workspace {
  Teller teller;
  policies::PolicyInputs inputs;
  prim::RawWriter text;
  char path[4096];
};
alignas(Workspace) constinit char workspace_memory[sizeof(Workspace)] = {};

void ReadFiles(Workspace& work) {
  // On a system without policy files this is all: one system call.
  if (prim::kernel::SystemCall(SYS_faccessat, AT_FDCWD, policies::kPolicyDirectory, F_OK) ==
      -ENOENT) {
    return;
  }
  policies::ReadPolicyFiles(policies::kPolicyDirectory, /*owner=*/0,
                            ExecutablePath(work.path, sizeof(work.path)), &work.inputs.files,
                            work.teller);
}

// Whether a tool is in the process that has to see every allocation.
bool HasTool() {
  return prim::UnderValgrind() || __asan_init != nullptr || __hwasan_init != nullptr ||
         __lsan_init != nullptr || __memprof_init != nullptr || __msan_init != nullptr ||
         __tsan_init != nullptr;
}

// Requires: one thread at a time.
void Resolve(ProcessPolicy* policy) {
  Workspace& work = *::new (workspace_memory) Workspace;
  policies::PolicyInputs& inputs = work.inputs;
  inputs.build_level = kBuildLevel;
  inputs.fixed_level = kFixedLevel;
  ReadFiles(work);
  ReadProgram(&inputs.program, work.teller);
  inputs.secure = prim::RunsWithRaisedPrivileges();
  // What does not count is not even parsed.
  if (!inputs.secure) ReadEnvironment(&inputs.environment, work.teller);
  policy->resolved = policies::Resolve(inputs, work.teller);
  if (!kFixedLevel && HasTool()) policy->resolved.disabled = true;
  policies::Settings shown = policy->resolved.settings;
  shown.Set(Setting::kLevel, static_cast<uint64_t>(policy->resolved.level));
  if (policy->resolved.disabled) shown.Set(Setting::kDisable, 1);
  policies::PrintSettings(shown, ':', work.text);
  const std::string_view view = work.text.view();
  const size_t length = view.size() < sizeof(policy->text) ? view.size() : sizeof(policy->text) - 1;
  __builtin_memcpy(policy->text, view.data(), length);
}

}  // namespace

const ProcessPolicy& ThisProcessPolicy() {
  if (process_policy.sealed()) return *process_policy;
  const int saved_errno = errno;
  {
    const prim::StartGuard guard;
    if (!process_policy.sealed()) {
      Resolve(&process_policy.Writable());
      process_policy.Seal();
    }
  }
  errno = saved_errno;
  return *process_policy;
}

bool LeavesProcessAlone() {
  return !kFixedLevel && (HasTool() || ThisProcessPolicy().resolved.disabled);
}

}  // namespace hardened::shim

namespace hardened {

// The socket of hardened/heap_plugs.h.
void ConfigureFeatures(Features* features) {
  policies::ApplySettings(shim::ThisProcessPolicy().resolved.settings, features);
}

}  // namespace hardened
