#include "backends/cpu/stored_plan.h"

#include <array>
#include <memory>
#include <set>
#include <variant>

#include "absl/strings/str_cat.h"
#include "backends/cpu/plan_file.h"
#include "base/aligned_buffer.h"
#include "base/byte_codec.h"
#include "base/status_macros.h"
#include "model/graph_codec.h"

namespace bitmill {

// A run of bytes in the part kBlobs, aligned to a cache line.
struct BlobPlace {
  uint64_t offset = 0, bytes = 0;
};

struct ConstantPlace {
  int32_t node = 0;
  std::string name;
  BlobPlace blob;
};

// The part kModel.
struct StoredModel {
  std::string graph, precision;
  std::vector<BlobPlace> tensors;  // of the graph, by number
  std::vector<ConstantPlace> constants;
};

struct LayerOfChoices {
  int32_t node = 0;
  LayerChoice choice;
};

// The part kChoices.
struct ChoicesPart {
  std::vector<LayerOfChoices> layers;
  std::vector<MeasuredStep> steps;
};

// One part of kParts.
struct PackedPlace {
  std::vector<ConstantPlace> constants;
  ChoicesPart choices;
};

// The part kParts.
struct PartsPart {
  std::string notes;
  std::vector<PackedPlace> parts;
};

template <typename Codec>
void Fields(Codec& codec, std::pair<std::string, std::string>& entry) {
  codec(entry.first, entry.second);
}

template <typename Codec>
void Fields(Codec& codec, BlobPlace& blob) {
  codec(blob.offset, blob.bytes);
}

template <typename Codec>
void Fields(Codec& codec, ConstantPlace& constant) {
  codec(constant.node, constant.name, constant.blob);
}

template <typename Codec>
void Fields(Codec& codec, StoredModel& model) {
  codec(model.graph, model.precision, model.tensors, model.constants);
}

template <typename Codec>
void Fields(Codec& codec, LayerOfChoices& layer) {
  LayerChoice& choice = layer.choice;
  codec(layer.node, choice.kernel, choice.prepared, choice.sparse_channels, choice.block_shift);
  if constexpr (Codec::kReads) {
    if (choice.block_shift < LayerChoice::kMinBlockShift ||
        choice.block_shift > LayerChoice::kMaxBlockShift) {
      codec.Fail();
    }
  }
}

template <typename Codec>
void Fields(Codec& codec, MeasuredStep& step) {
  codec(step.micros, step.gain);
  if constexpr (Codec::kReads) {
    constexpr double kMost = 1e12;  // and no NaN
    if (!(step.micros >= 0.0 && step.micros <= kMost && step.gain >= 0.0 && step.gain <= kMost)) {
      codec.Fail();
    }
  }
}

template <typename Codec>
void Fields(Codec& codec, ChoicesPart& part) {
  codec(part.layers, part.steps);
}

template <typename Codec>
void Fields(Codec& codec, PackedPlace& part) {
  codec(part.constants, part.choices);
}

template <typename Codec>
void Fields(Codec& codec, PartsPart& parts) {
  codec(parts.notes, parts.parts);
}

template <typename Codec>
void Fields(Codec& codec, FileStamp& stamp) {
  codec(stamp.device, stamp.inode, stamp.bytes, stamp.modified_ns, stamp.changed_ns);
}

template <typename Codec>
void Fields(Codec& codec, PlanSource& source) {
  codec(source.stamp, source.hash);
}

namespace {

template <typename T>
std::string Encoded(T value) {
  PlainEncoder encoder;
  encoder(value);
  return encoder.Take();
}

template <typename T>
absl::StatusOr<T> Decoded(absl::string_view bytes, absl::string_view what) {
  PlainDecoder decoder(bytes);
  T value;
  decoder(value);
  if (!decoder.AtEnd()) return absl::DataLossError(absl::StrCat("the ", what, " is not whole"));
  return value;
}

// Lines up blobs, which are borrowed.
class BlobList {
 public:
  BlobPlace Add(const void* data, int64_t bytes) {
    static constexpr std::array<char, kCacheLineBytes> kZeros{};
    const uint64_t gap = (kCacheLineBytes - end_ % kCacheLineBytes) % kCacheLineBytes;
    pieces_.emplace_back(kZeros.data(), gap);
    const BlobPlace place{end_ + gap, static_cast<uint64_t>(bytes)};
    pieces_.emplace_back(static_cast<const char*>(data), place.bytes);
    end_ = place.offset + place.bytes;
    return place;
  }
  const std::vector<absl::string_view>& pieces() const { return pieces_; }

 private:
  std::vector<absl::string_view> pieces_;
  uint64_t end_ = 0;
};

const Tensor* WeightsOf(const Node& node) {
  if (const auto* op = std::get_if<LowBitConvOp>(&node.lowered)) return op->weights.get();
  if (const auto* op = std::get_if<FloatConvOp>(&node.lowered)) return op->weights.get();
  if (const auto* op = std::get_if<FloatDenseOp>(&node.lowered)) return op->weights.get();
  return nullptr;
}

// Weights that are needed no more: those that all their readers have packed.
std::set<const Tensor*> PackedWeights(const StoredPlan& plan) {
  const std::set<int32_t>& packed = plan.constants.packed_nodes();
  std::set<const Tensor*> weights;
  for (size_t n = 0; n < plan.graph.nodes.size(); ++n) {
    if (packed.contains(static_cast<int32_t>(n))) weights.insert(WeightsOf(plan.graph.nodes[n]));
  }
  for (size_t n = 0; n < plan.graph.nodes.size(); ++n) {
    if (!packed.contains(static_cast<int32_t>(n))) weights.erase(WeightsOf(plan.graph.nodes[n]));
  }
  for (const Value& value : plan.graph.values) weights.erase(value.constant.get());
  return weights;
}

absl::Status CheckKey(const std::string& path, const PlanKey& found, const PlanKey& wanted) {
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (i < found.size() && found[i] == wanted[i]) continue;
    const bool same_name = i < found.size() && found[i].first == wanted[i].first;
    return absl::FailedPreconditionError(absl::StrCat(path, " is for another ", wanted[i].first,
                                                      ": '", same_name ? found[i].second : "",
                                                      "', this is '", wanted[i].second, "'"));
  }
  if (found.size() == wanted.size()) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(path, " has a longer key"));
}

// Blobs of a mapped file.
class BlobsInFile {
 public:
  BlobsInFile(std::shared_ptr<const MappedFile> file, absl::string_view bytes)
      : file_(std::move(file)), bytes_(bytes) {}

  absl::StatusOr<std::shared_ptr<const std::byte>> At(const BlobPlace& place) const {
    const auto piece = PieceOf(bytes_, place.offset, place.bytes, kCacheLineBytes);
    if (!piece.has_value()) return absl::DataLossError("a constant lies outside of the plan");
    return std::shared_ptr<const std::byte>(file_,
                                            reinterpret_cast<const std::byte*>(piece->data()));
  }

 private:
  std::shared_ptr<const MappedFile> file_;
  absl::string_view bytes_;
};

absl::StatusOr<PlanConstants> ConstantsAt(std::vector<ConstantPlace> places,
                                          const BlobsInFile& blobs) {
  std::map<PlanConstants::Key, PackedBytes> constants;
  for (ConstantPlace& place : places) {
    BITMILL_ASSIGN_OR_RETURN(std::shared_ptr<const std::byte> data, blobs.At(place.blob));
    constants[{place.node, std::move(place.name)}] =
        PackedBytes(std::move(data), static_cast<int64_t>(place.blob.bytes));
  }
  return PlanConstants(std::move(constants));
}

absl::Status ReadModel(const PlanFile& file, StoredPlan& plan) {
  BITMILL_ASSIGN_OR_RETURN(const absl::string_view model_bytes, file.Part(PlanPart::kModel));
  BITMILL_ASSIGN_OR_RETURN(const absl::string_view blob_bytes, file.Part(PlanPart::kBlobs));
  BITMILL_ASSIGN_OR_RETURN(StoredModel model, Decoded<StoredModel>(model_bytes, "model"));
  const BlobsInFile blobs(file.file(), blob_bytes);
  const auto tensor = [&](uint32_t number,
                          int64_t bytes) -> absl::StatusOr<std::shared_ptr<const std::byte>> {
    if (number >= model.tensors.size() ||
        model.tensors[number].bytes != static_cast<uint64_t>(bytes)) {
      return absl::DataLossError(absl::StrCat("no tensor ", number, " of ", bytes, " bytes"));
    }
    return blobs.At(model.tensors[number]);
  };
  BITMILL_ASSIGN_OR_RETURN(plan.graph, DecodeGraph(model.graph, tensor));
  BITMILL_ASSIGN_OR_RETURN(plan.constants, ConstantsAt(std::move(model.constants), blobs));
  plan.precision = std::move(model.precision);
  return absl::OkStatus();
}

KernelChoices ChoicesOf(ChoicesPart part) {
  KernelChoices choices;
  for (LayerOfChoices& layer : part.layers) choices.layers[layer.node] = std::move(layer.choice);
  choices.steps = std::move(part.steps);
  return choices;
}

ChoicesPart PartOf(const KernelChoices& choices) {
  ChoicesPart part;
  for (const auto& [node, choice] : choices.layers) part.layers.push_back({node, choice});
  part.steps = choices.steps;
  return part;
}

absl::Status ReadChoices(const PlanFile& file, KernelChoices& choices) {
  if (!file.Has(PlanPart::kChoices)) return absl::OkStatus();
  BITMILL_ASSIGN_OR_RETURN(const absl::string_view bytes, file.Part(PlanPart::kChoices));
  BITMILL_ASSIGN_OR_RETURN(ChoicesPart part, Decoded<ChoicesPart>(bytes, "list of choices"));
  choices = ChoicesOf(std::move(part));
  return absl::OkStatus();
}

std::vector<ConstantPlace> AddConstants(const PlanConstants& constants, BlobList& blobs) {
  std::vector<ConstantPlace> places;
  for (const auto& [key, constant] : constants.all()) {
    places.push_back({key.first, key.second, blobs.Add(constant.data(), constant.size())});
  }
  return places;
}

absl::Status ReadParts(const PlanFile& file, StoredBundle& bundle) {
  BITMILL_ASSIGN_OR_RETURN(const absl::string_view bytes, file.Part(PlanPart::kParts));
  BITMILL_ASSIGN_OR_RETURN(const absl::string_view blob_bytes, file.Part(PlanPart::kBlobs));
  BITMILL_ASSIGN_OR_RETURN(PartsPart parts, Decoded<PartsPart>(bytes, "list of parts"));
  const BlobsInFile blobs(file.file(), blob_bytes);
  bundle.notes = std::move(parts.notes);
  for (PackedPlace& place : parts.parts) {
    StoredBundle::Part& part = bundle.parts.emplace_back();
    BITMILL_ASSIGN_OR_RETURN(part.constants, ConstantsAt(std::move(place.constants), blobs));
    part.choices = ChoicesOf(std::move(place.choices));
  }
  return absl::OkStatus();
}

absl::Status InFile(const std::string& path, const absl::Status& status) {
  return {status.code(), absl::StrCat(path, " is damaged: ", status.message())};
}

// What every plan file has; the key is not `key`: FailedPrecondition.
absl::Status ReadPlan(const PlanFile& file, const std::string& path, const PlanKey& key,
                      StoredPlan& plan) {
  absl::StatusOr<absl::string_view> key_bytes = file.Part(PlanPart::kKey);
  if (!key_bytes.ok()) return InFile(path, key_bytes.status());
  absl::StatusOr<PlanKey> found = Decoded<PlanKey>(*key_bytes, "key");
  if (!found.ok()) return InFile(path, found.status());
  BITMILL_RETURN_IF_ERROR(CheckKey(path, *found, key));
  plan.key = *std::move(found);
  absl::StatusOr<absl::string_view> source_bytes = file.Part(PlanPart::kSource);
  if (!source_bytes.ok()) return InFile(path, source_bytes.status());
  absl::StatusOr<PlanSource> source = Decoded<PlanSource>(*source_bytes, "source");
  if (!source.ok()) return InFile(path, source.status());
  plan.source = *source;
  absl::Status status = ReadModel(file, plan);
  return status.ok() ? status : InFile(path, status);
}

}  // namespace

absl::Status WriteStoredPlan(const std::string& path, const StoredPlan& plan,
                             const PlanSource& source) {
  const std::set<const Tensor*> packed = PackedWeights(plan);
  const EncodedGraph graph =
      EncodeGraph(plan.graph, [&](const Tensor* tensor) { return packed.contains(tensor); });
  StoredModel model;
  model.graph = graph.bytes;
  model.precision = plan.precision;
  BlobList blobs;
  for (const SharedTensor& tensor : graph.blobs) {
    model.tensors.push_back(blobs.Add(tensor->data(), tensor->bytes()));
  }
  model.constants = AddConstants(plan.constants, blobs);
  const std::string key = Encoded(plan.key), made_from = Encoded(source),
                    model_bytes = Encoded(std::move(model)),
                    choices = Encoded(PartOf(plan.choices));
  std::vector<PlanPartContents> parts = {{PlanPart::kKey, {key}},
                                         {PlanPart::kSource, {made_from}},
                                         {PlanPart::kModel, {model_bytes}},
                                         {PlanPart::kBlobs, blobs.pieces()}};
  if (plan.choices.measured()) parts.push_back({PlanPart::kChoices, {choices}});
  return WritePlanFile(path, parts);
}

absl::StatusOr<StoredPlan> ReadStoredPlan(const std::string& path, uint32_t model_owner,
                                          const PlanKey& key) {
  BITMILL_ASSIGN_OR_RETURN(const PlanFile file, PlanFile::Open(path, model_owner));
  StoredPlan plan;
  BITMILL_RETURN_IF_ERROR(ReadPlan(file, path, key, plan));
  if (absl::Status status = ReadChoices(file, plan.choices); !status.ok()) {
    return InFile(path, status);
  }
  return plan;
}

absl::Status WriteStoredBundle(const std::string& path, const PlanKey& key,
                               const PlanSource& source, const Graph& lowered,
                               const std::string& notes,
                               absl::Span<const StoredPlan* const> parts) {
  const EncodedGraph graph = EncodeGraph(lowered, [](const Tensor*) { return false; });
  StoredModel model;
  model.graph = graph.bytes;
  BlobList blobs;
  for (const SharedTensor& tensor : graph.blobs) {
    model.tensors.push_back(blobs.Add(tensor->data(), tensor->bytes()));
  }
  PartsPart packed;
  packed.notes = notes;
  for (const StoredPlan* const plan : parts) {
    packed.parts.push_back({AddConstants(plan->constants, blobs), PartOf(plan->choices)});
  }
  const std::string key_bytes = Encoded(key), made_from = Encoded(source),
                    model_bytes = Encoded(std::move(model)),
                    packed_bytes = Encoded(std::move(packed));
  return WritePlanFile(path, {{PlanPart::kKey, {key_bytes}},
                              {PlanPart::kSource, {made_from}},
                              {PlanPart::kModel, {model_bytes}},
                              {PlanPart::kParts, {packed_bytes}},
                              {PlanPart::kBlobs, blobs.pieces()}});
}

absl::StatusOr<StoredBundle> ReadStoredBundle(const std::string& path, uint32_t model_owner,
                                              const PlanKey& key) {
  BITMILL_ASSIGN_OR_RETURN(const PlanFile file, PlanFile::Open(path, model_owner));
  StoredPlan plan;
  BITMILL_RETURN_IF_ERROR(ReadPlan(file, path, key, plan));
  StoredBundle bundle{.key = std::move(plan.key),
                      .source = plan.source,
                      .graph = std::move(plan.graph),
                      .notes = {},
                      .parts = {}};
  if (absl::Status status = ReadParts(file, bundle); !status.ok()) return InFile(path, status);
  return bundle;
}

}  // namespace bitmill
