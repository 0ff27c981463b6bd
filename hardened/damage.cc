#include "hardened/damage.h"

#include "hardened/bad_pointer.h"
#include "hardened/events.h"
#include "hardened/prim/corruption_report.h"
#include "hardened/prim/raw_writer.h"
#include "hardened/wipe.h"

namespace hardened {
namespace {

using prim::CorruptionKind;
using prim::CorruptionReport;

}  // namespace

void ReportCanary(uintptr_t start, uintptr_t damage, size_t requested, const char* found_by,
                  const void* caller) {
  CorruptionReport report = DescribeAddress(start, found_by);
  report.kind = CorruptionKind::kCanaryClobbered;
  report.address = damage;
  report.requested_size = requested;
  report.caller = reinterpret_cast<uintptr_t>(caller);
  HandleEvent(report);
}

void ReportWriteAfterFree(const void* slot, size_t size, const char* found_by, const void* caller) {
  CorruptionReport report = DescribeAddress(reinterpret_cast<uintptr_t>(slot), found_by);
  report.kind = CorruptionKind::kWriteAfterFree;
  report.address = FirstNonZero(slot, size);
  report.caller = reinterpret_cast<uintptr_t>(caller);
  HandleEvent(report);
}

void ReportKindMismatch(const void* pointer, core::AllocationKind kind, EntryPoint entry,
                        const void* caller) {
  CorruptionReport report =
      DescribeAddress(reinterpret_cast<uintptr_t>(pointer), FactsOf(entry).name);
  report.kind = CorruptionKind::kKindMismatch;
  prim::RawWriter detail;
  detail.Text("allocated by ").Text(MakerOf(kind)).Char('\0');
  report.detail = detail.view().data();
  report.caller = reinterpret_cast<uintptr_t>(caller);
  HandleEvent(report);
}

namespace {

// `unit` follows the number.
void ReportStated(const void* pointer, size_t requested, const char* as, size_t stated,
                  const char* unit, EntryPoint entry, const void* caller) {
  CorruptionReport report =
      DescribeAddress(reinterpret_cast<uintptr_t>(pointer), FactsOf(entry).name);
  report.kind = CorruptionKind::kSizeMismatch;
  report.requested_size = requested;
  prim::RawWriter detail;
  detail.Text(as).Decimal(stated).Text(unit).Char('\0');
  report.detail = detail.view().data();
  report.caller = reinterpret_cast<uintptr_t>(caller);
  HandleEvent(report);
}

}  // namespace

void ReportSizeMismatch(const void* pointer, size_t requested, size_t stated, EntryPoint entry,
                        const void* caller) {
  ReportStated(pointer, requested, "ended as ", stated, " bytes", entry, caller);
}

void ReportAlignmentMismatch(const void* pointer, size_t requested, size_t stated, EntryPoint entry,
                             const void* caller) {
  ReportStated(pointer, requested, "ended as aligned to ", stated, "", entry, caller);
}

}  // namespace hardened
