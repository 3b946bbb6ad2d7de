#include "tools/client/answer_report.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "tools/client/classes.h"
#include "tools/input/elements.h"
#include "tools/text/json_writer.h"
#include "tools/text/text_table.h"

namespace bitmill {
namespace {

std::vector<double> RowValues(const Tensor& tensor, int64_t row, int64_t rows) {
  const int64_t elements = tensor.elements() / rows;
  std::vector<double> values;
  values.reserve(static_cast<size_t>(elements));
  for (int64_t i = 0; i < elements; ++i) {
    values.push_back(ElementAsDouble(tensor, row * elements + i));
  }
  return values;
}

struct Accuracy {
  int64_t correct = 0, labelled = 0;
};

Accuracy CountCorrectRows(const std::vector<int64_t>& classes, const std::vector<int64_t>& labels) {
  Accuracy accuracy;
  for (size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] < 0) continue;  // unknown
    ++accuracy.labelled;
    accuracy.correct += classes[i] == labels[i] ? 1 : 0;
  }
  return accuracy;
}

std::string ScoreText(const ClassScore& score) {
  return absl::StrFormat("%d (%.4g)", score.label, score.score);
}

}  // namespace

absl::StatusOr<GoldenComparison> CompareWithGolden(const Tensor& output, const Tensor& golden,
                                                   int64_t rows, double atol) {
  if (output.elements() != golden.elements()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the output has shape ", ShapeToString(output.shape()), ", the golden output ",
                     ShapeToString(golden.shape())));
  }
  GoldenComparison comparison;
  comparison.rows = rows;
  comparison.atol = atol;
  const int64_t row_elements = output.elements() / rows;
  for (int64_t i = 0; i < output.elements(); ++i) {
    const double got = ElementAsDouble(output, i);
    const double want = ElementAsDouble(golden, i);
    const bool same = got == want || (std::isnan(got) && std::isnan(want));
    double gap = same ? 0.0 : std::abs(got - want);
    if (std::isnan(gap)) gap = std::numeric_limits<double>::infinity();
    if (gap > comparison.largest_gap) {
      comparison.largest_gap = gap;
      comparison.row = i / row_elements;
    }
  }
  BITMILL_ASSIGN_OR_RETURN(const std::vector<int64_t> got, Classify(output, rows));
  BITMILL_ASSIGN_OR_RETURN(const std::vector<int64_t> want, Classify(golden, rows));
  for (size_t i = 0; i < got.size(); ++i) comparison.same_class += got[i] == want[i] ? 1 : 0;
  return comparison;
}

absl::StatusOr<std::string> AnswerTable(const AnswerReport& report, int64_t top,
                                        int64_t rows_shown) {
  if (report.outputs.empty()) return absl::InvalidArgumentError("the model has no output");
  const Tensor& output = report.outputs.front().tensor;
  BITMILL_ASSIGN_OR_RETURN(const std::vector<int64_t> classes, Classify(output, report.rows));
  const int64_t shown = rows_shown == 0 ? report.rows : std::min(rows_shown, report.rows);
  const bool labelled = !report.labels.empty();

  std::vector<std::string> titles = {"row", "class (score)"};
  if (top > 1) titles.push_back("then");
  if (labelled) titles.insert(titles.end(), {"label", ""});
  TextTable table(titles);
  for (int64_t row = 0; row < shown; ++row) {
    const std::vector<ClassScore> scores = TopScores(RowValues(output, row, report.rows), top);
    std::string others;
    for (size_t i = 1; i < scores.size(); ++i) {
      absl::StrAppend(&others, i > 1 ? ", " : "", ScoreText(scores[i]));
    }
    std::vector<std::string> cells = {
        absl::StrCat(row), scores.size() == 1 ? absl::StrCat(classes[static_cast<size_t>(row)])
                           : scores.empty()   ? ""
                                              : ScoreText(scores.front())};
    if (top > 1) cells.push_back(others);
    if (labelled) {
      const int64_t label = report.labels[static_cast<size_t>(row)];
      const bool right = classes[static_cast<size_t>(row)] == label;
      cells.push_back(label < 0 ? "-" : absl::StrCat(label));
      cells.push_back(label < 0 ? "" : right ? "right" : "wrong");
    }
    table.AddRow(std::move(cells));
  }
  std::string text = table.Text();
  if (shown < report.rows) {
    absl::StrAppend(&text, "... ", report.rows - shown, " more rows, --rows 0 shows all\n");
  }
  absl::StrAppend(&text, "\n", report.model, ": ", WithCommas(static_cast<double>(report.rows)),
                  report.rows == 1 ? " row in " : " rows in ", Duration(report.seconds * 1e9),
                  absl::StrFormat(" (%s rows/s)",
                                  WithCommas(static_cast<double>(report.rows) / report.seconds)));
  if (labelled) {
    const Accuracy accuracy = CountCorrectRows(classes, report.labels);
    absl::StrAppend(&text, accuracy.labelled == 0
                               ? std::string(", no known label")
                               : absl::StrFormat(", accuracy %.2f %% (%d of %d)",
                                                 100.0 * static_cast<double>(accuracy.correct) /
                                                     static_cast<double>(accuracy.labelled),
                                                 accuracy.correct, accuracy.labelled));
  }
  absl::StrAppend(&text, "\n");
  if (report.golden.has_value()) {
    const GoldenComparison& golden = *report.golden;
    absl::StrAppend(&text,
                    absl::StrFormat("golden: %s, largest gap %g in row %d (allowed %g), same class "
                                    "in %d of %d rows\n",
                                    golden.within() ? "matches" : "DIFFERS", golden.largest_gap,
                                    golden.row, golden.atol, golden.same_class, golden.rows));
  }
  return text;
}

absl::StatusOr<std::string> AnswerJson(const AnswerReport& report) {
  if (report.outputs.empty()) return absl::InvalidArgumentError("the model has no output");
  BITMILL_ASSIGN_OR_RETURN(const std::vector<int64_t> classes,
                           Classify(report.outputs.front().tensor, report.rows));
  JsonWriter json;
  json.BeginObject().Key("model").String(report.model).Key("rows").Int(report.rows);
  json.Key("seconds").Double(report.seconds).Key("outputs").BeginArray();
  for (const NamedTensor& output : report.outputs) {
    json.BeginObject().Key("name").String(output.name);
    const absl::string_view type = DTypeName(output.tensor.dtype());
    json.Key("datatype").String(type).Key("shape").BeginArray();
    for (const int64_t dim : output.tensor.shape()) json.Int(dim);
    json.EndArray().Key("data").BeginArray();
    for (int64_t i = 0; i < output.tensor.elements(); ++i) {
      json.Double(ElementAsDouble(output.tensor, i));
    }
    json.EndArray().EndObject();
  }
  json.EndArray().Key("classes").BeginArray();
  for (const int64_t label : classes) json.Int(label);
  json.EndArray();
  if (!report.labels.empty()) {
    const Accuracy accuracy = CountCorrectRows(classes, report.labels);
    json.Key("labelled_rows").Int(accuracy.labelled).Key("correct_rows").Int(accuracy.correct);
    json.Key("accuracy")
        .Double(static_cast<double>(accuracy.correct) / static_cast<double>(accuracy.labelled));
  }
  if (report.golden.has_value()) {
    const GoldenComparison& golden = *report.golden;
    json.Key("golden").BeginObject().Key("matches").Bool(golden.within());
    json.Key("largest_gap").Double(golden.largest_gap).Key("atol").Double(golden.atol);
    json.Key("row").Int(golden.row).Key("same_class_rows").Int(golden.same_class).EndObject();
  }
  json.EndObject();
  return json.text();
}

}  // namespace bitmill
