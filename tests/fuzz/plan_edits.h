// What the fuzz targets of plan files share: graphs, edits of the parts of a file, and what runs in
// milliseconds.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "backends/backend.h"
#include "model/graph.h"

namespace bitmill {

// In a folder in memory, of this process, which is removed at its end.
const std::string& FuzzPlanPath();

// Lowered graphs of all kinds, `count` of them that verify and of which the CPU makes a plan;
// always the same.
std::vector<Graph> FuzzGraphs(size_t count);

// Edits the parts: five bytes an edit, what to do and to which part, three of place, a value. Bytes
// left over are not looked at.
void EditParts(const uint8_t* edits, size_t bytes, absl::Span<std::string> parts);

// A fuzzer's mutation of such an input, whose edits begin behind `head` bytes: another edit, one
// less, one changed, or another head. Most set one byte of the first part to a number that means
// something; few bytes at random do. Returns the new size.
size_t MutateEdits(uint8_t* data, size_t size, size_t max_size, size_t head, uint32_t seed);

// Whether it compiles and runs in milliseconds, and has rows, as backends require.
bool IsQuickToRun(const Graph& graph);

// Runs two rows of zeros if that is little work.
void RunZeroRows(const Executable& executable);

}  // namespace bitmill
