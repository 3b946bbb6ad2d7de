#include "base/program_id.h"

#include <elf.h>
#include <link.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "absl/base/casts.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/file.h"

namespace bitmill {
namespace {

constexpr size_t kNoteAlignment = 4;

size_t Padded(size_t bytes) {
  return (bytes + kNoteAlignment - 1) / kNoteAlignment * kNoteAlignment;
}

// The build id among the notes of a segment; empty when it is not there.
absl::string_view FindBuildId(absl::string_view notes) {
  while (notes.size() >= sizeof(ElfW(Nhdr))) {
    ElfW(Nhdr) note;
    std::memcpy(&note, notes.data(), sizeof(note));
    notes.remove_prefix(sizeof(note));
    const size_t name = Padded(note.n_namesz), text = Padded(note.n_descsz);
    if (name > notes.size() || text > notes.size() - name) return {};
    if (note.n_type == NT_GNU_BUILD_ID && notes.substr(0, 4) == absl::string_view("GNU\0", 4)) {
      return notes.substr(name, note.n_descsz);
    }
    notes.remove_prefix(name + text);
  }
  return {};
}

// The program itself comes first; that is enough.
int TakeFirst(dl_phdr_info* info, size_t, void* found) {
  for (size_t i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr)& segment = info->dlpi_phdr[i];
    if (segment.p_type != PT_NOTE) continue;
    const auto* const start = absl::bit_cast<const char*>(info->dlpi_addr + segment.p_vaddr);
    const absl::string_view id = FindBuildId({start, segment.p_memsz});
    if (id.empty()) continue;
    *static_cast<std::string*>(found) = absl::BytesToHexString(id);
    break;
  }
  return 1;
}

}  // namespace

std::string ProgramId() {
  std::string id;
  dl_iterate_phdr(TakeFirst, &id);
  if (!id.empty()) return id;
  const absl::StatusOr<HashedFile> file = HashFile("/proc/self/exe");
  return file.ok() ? absl::StrCat(absl::Hex(file->hash, absl::kZeroPad16)) : "unknown";
}

}  // namespace bitmill
