// A face before a camera: on which frames to ask the network, and its answers, smoothed.
//
//   FaceTimeline timeline(package);                   one for each face that is followed
//   const Bytes pixels = resize(cut(picture, timeline.rectangle(x, y, w, h)), ...).rgb;
//   const auto scores = timeline.see(frame, time_s, [&model, pixels] { return model.run(pixels); });
//   timeline.see(frame, time_s, nullptr);             the face is not in this frame
//
// `see` asks at once, later, or never, as video.json says; so what it is given must hold its pixels.  What a network would
// carry from frame to frame belongs to the face: to what `ask` captures.

#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "json.hpp"

class FaceTimeline {
 public:
  using Values = std::vector<float>;
  using Ask = std::function<Values()>;

  explicit FaceTimeline(const std::filesystem::path& package) {
    const Json video = read(package / "video.json");
    const Json& levels = video["levels"];
    gap_s_ = video["gap_s"].number;
    window_s_ = levels["window_s"].number;
    for (double stride : levels["strides"].numbers()) strides_.push_back(long(stride));
    thresholds_ = levels["thresholds"].numbers();
    for (const Json& output : video["outputs"].list) {
      const Output next{size_, size_ + std::size_t(output["values"].number), output["back_s"].number};
      if (output["name"].text == levels["output"].text) confident_ = next;
      outputs_.push_back(next);
      size_ = next.end;
    }
    const Json contract = read(package / "preprocessing.json");
    const Json& crop = contract["input"]["face_crop"];
    if (crop.empty()) return;
    margin_ = crop["margin"].number;
    square_ = crop["square"].number != 0;
  }

  // Left, top, width and height of what the network is shown of a face whose box this is.
  std::array<long, 4> rectangle(double x, double y, double width, double height) const {
    double wide = width * (1 + 2 * margin_), tall = height * (1 + 2 * margin_);
    if (square_) wide = tall = std::max(wide, tall);
    const long across = std::max(std::lrint(wide), 1L), down = std::max(std::lrint(tall), 1L);
    return {std::lrint(x + width / 2 - double(across) / 2), std::lrint(y + height / 2 - double(down) / 2), across, down};
  }

  // Values of all outputs, smoothed; empty where nothing is known.  Frames without a face count too, and have no `ask`.
  std::vector<double> see(long frame, double time_s, Ask ask) {
    asked_.clear();
    const double window = std::floor(time_s / window_s_ + kInstant);
    if (window != window_) finish();
    window_ = window;
    if (ask) {
      if (time_s - seen_ > gap_s_ + kInstant) begun_ = time_s;
      seen_ = time_s;
      if (frame % strides_.front() == 0) {
        this->ask(frame, time_s, 1, ask);
      } else if (frame % strides_.back() == 0) {
        waiting_.push_back({frame, time_s, std::move(ask)});
      }
    }
    forget(time_s);
    return smooth(time_s);
  }

  // Frame and level of what the last call of `see` asked the network.
  const std::vector<std::pair<long, int>>& asked() const { return asked_; }

  static Json read(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error("cannot read " + path.string());
    return Json::parse(std::string(std::istreambuf_iterator<char>(file), {}));
  }

 private:
  struct Output {
    std::size_t first, end;
    double back_s;
  };
  struct Waiting {
    long frame;
    double time_s;
    Ask ask;
  };
  struct Point {
    double time_s;
    Values values;
  };

  // Asks about the window that is over, level by level, until an answer is sure enough.
  void finish() {
    for (std::size_t level = 0; level < strides_.size(); ++level) {
      std::vector<Waiting> left;
      for (Waiting& each : waiting_) {
        if (each.frame % strides_[level] == 0) {
          ask(each.frame, each.time_s, int(level) + 1, each.ask);
        } else {
          left.push_back(std::move(each));
        }
      }
      waiting_ = std::move(left);
      if (confidence() >= thresholds_[level]) break;
    }
    waiting_.clear();
    answers_.clear();
  }

  // The largest mean value over the answers in this window.
  double confidence() const {
    if (answers_.empty()) return -kInfinity;
    double largest = -kInfinity;
    for (std::size_t i = confident_.first; i < confident_.end; ++i) {
      double sum = 0;
      for (const Values& values : answers_) sum += values[i];
      largest = std::max(largest, sum / double(answers_.size()));
    }
    return largest;
  }

  void ask(long frame, double time_s, int level, const Ask& ask) {
    const Values values = ask();
    if (values.size() != size_) throw std::runtime_error("the network says something else than video.json");
    asked_.emplace_back(frame, level);
    answers_.push_back(values);
    known_.push_back({time_s, values});
  }

  // Keeps of what is older than all means only the last, where the line begins that they are taken of.
  void forget(double time_s) {
    std::sort(known_.begin(), known_.end(), [](const Point& a, const Point& b) { return a.time_s < b.time_s; });
    double widest = 0;
    for (const Output& output : outputs_) widest = std::max(widest, output.back_s);
    while (known_.size() > 1 && known_[1].time_s <= time_s - widest) known_.erase(known_.begin());
  }

  std::vector<double> smooth(double time_s) const {
    std::vector<Point> points;
    for (const Point& point : known_) {
      if (point.time_s >= begun_) points.push_back(point);
    }
    if (time_s - seen_ > gap_s_ + kInstant || points.empty()) return {};
    std::vector<double> result;
    for (const Output& output : outputs_) {
      const double high = points.back().time_s;
      const double low = std::max(points.front().time_s, std::min(time_s - output.back_s, high));
      for (std::size_t i = output.first; i < output.end; ++i) result.push_back(mean(points, i, low, high));
    }
    return result;
  }

  // Mean between two times of the line through values at times, of which `high` is the last.
  static double mean(const std::vector<Point>& points, std::size_t column, double low, double high) {
    if (high - low <= kInstant) return points.back().values[column];
    double area = 0;
    for (std::size_t i = 1; i < points.size(); ++i) {
      const double start = points[i - 1].time_s, stop = points[i].time_s, begin = std::max(start, low);
      if (begin >= stop) continue;
      const double first = points[i - 1].values[column], last = points[i].values[column];
      const double at_begin = first + (last - first) * ((begin - start) / (stop - start));
      area += (at_begin + last) / 2 * (stop - begin);
    }
    return area / (high - low);
  }

  static constexpr double kInstant = 1e-9;
  static constexpr double kInfinity = std::numeric_limits<double>::infinity();

  double gap_s_ = 0, window_s_ = 1, margin_ = 0;
  bool square_ = false;
  std::vector<long> strides_;
  std::vector<double> thresholds_;
  std::vector<Output> outputs_;
  Output confident_{};
  std::size_t size_ = 0;

  std::vector<std::pair<long, int>> asked_;
  double window_ = -kInfinity, begun_ = -kInfinity, seen_ = -kInfinity;
  std::vector<Waiting> waiting_;
  std::vector<Values> answers_;
  std::vector<Point> known_;
};

// The package's own traces: what this machine makes of scores over time, against what it should.
inline bool traces(const std::filesystem::path& package, std::ostream& out) {
  const Json expected = FaceTimeline::read(package / "golden" / "traces.json");
  bool passed = true;
  for (const Json& crop : expected["crops"].list) {
    const auto box = crop["box"].numbers(), wanted = crop["rectangle"].numbers();
    const auto found = FaceTimeline(package).rectangle(box[0], box[1], box[2], box[3]);
    passed = passed && std::equal(found.begin(), found.end(), wanted.begin(), wanted.end());
  }
  out << (passed ? "passed  " : "FAILED  ") << "crops: " << expected["crops"].list.size() << " rectangles\n";
  for (const Json& trace : expected["traces"].list) {
    FaceTimeline timeline(package);
    double off = 0;
    bool same = true;
    long index = 0;
    for (const Json& frame : trace["frames"].list) {
      const auto scores = frame["scores"].numbers(), smooth = frame["smooth"].numbers();
      FaceTimeline::Ask ask;
      if (!frame["scores"].empty()) ask = [scores] { return FaceTimeline::Values(scores.begin(), scores.end()); };
      const auto found = timeline.see(index++, frame["time_s"].number, ask);
      same = same && found.size() == smooth.size() && timeline.asked().size() == frame["asked"].list.size();
      for (std::size_t i = 0; same && i < smooth.size(); ++i) off = std::max(off, std::abs(found[i] - smooth[i]));
      for (std::size_t i = 0; same && i < timeline.asked().size(); ++i) {
        const auto asked = frame["asked"].list[i].numbers();
        same = timeline.asked()[i] == std::pair<long, int>(long(asked[0]), int(asked[1]));
      }
    }
    const bool held = same && off <= expected["tolerance"].number;
    out << (held ? "passed  " : "FAILED  ") << "trace: " << trace["name"].text << ", off by " << off << '\n';
    passed = passed && held;
  }
  return passed;
}
