// What expression does a face crop show?  C++17, ONNX Runtime and nothing else.
//
//   cmake -B build -DONNXRUNTIME=DIR && cmake --build build     (DIR: an unpacked release of ONNX Runtime)
//   build/expression ../.. face.ppm       a crop of one upright face; `magick face.jpg face.ppm` makes one
//   build/expression ../.. group.ppm 31 40 90 90         the box of a face in a picture: x, y, width, height
//   build/expression ../.. --golden       proves that this machine computes what it should
//
// For faces in video, face_timeline.hpp says when to ask the network, and smooths its answers.  A network that carries
// states, or reads clips (preprocessing.json says so), is shown every frame of a face, and `reset` where another begins.
//
// edgefer's own tests build this file and run it against ONNX Runtime's library.

#include <onnxruntime_cxx_api.h>

#if defined(_M_X64) || defined(_M_IX86)
#include <intrin.h>
#elif defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "face_timeline.hpp"

namespace fs = std::filesystem;
using Bytes = std::vector<std::uint8_t>;

struct Image {
  int width, height;
  Bytes rgb;  // row by row, red first
};

// How much an input pixel counts at a distance from the output's centre, in output pixels: a triangle.
double weight(double distance) { return std::max(0.0, 1.0 - std::abs(distance)); }

// Weighted sums along the middle axis of pixels laid out as (outer, length, inner).
Bytes resample(const Bytes& pixels, int outer, int length, int inner, int count) {
  constexpr std::int64_t kOne = 1 << 22;  // weights are integers: the sums are equal on every machine
  const double scale = double(length) / count, reach = std::max(scale, 1.0);
  Bytes result(std::size_t(outer) * count * inner);
  for (int out = 0; out < count; ++out) {
    const double centre = (out + 0.5) * scale;
    const int start = std::max(0, int(std::floor(centre - reach)));
    const int stop = std::min(length, int(std::ceil(centre + reach)));
    std::vector<double> weights;
    double sum = 0;
    for (int i = start; i < stop; ++i) sum += weights.emplace_back(weight((i + 0.5 - centre) / reach));
    for (double& w : weights) w = std::trunc(w / sum * kOne + 0.5);
    for (int row = 0; row < outer; ++row) {
      for (int column = 0; column < inner; ++column) {
        std::int64_t total = kOne / 2;
        for (int i = start; i < stop; ++i) {
          total += std::int64_t(weights[i - start]) * pixels[(std::size_t(row) * length + i) * inner + column];
        }
        result[(std::size_t(row) * count + out) * inner + column] = std::uint8_t(std::clamp<std::int64_t>(total / kOne, 0, 255));
      }
    }
  }
  return result;
}

// Any size to the network's, as PREPROCESSING.md says.  Not normalised: the network does that inside.
Image resize(const Image& image, int width, int height) {
  const Bytes across = resample(image.rgb, image.height, image.width, 3, width);
  return {width, height, resample(across, 1, image.height, width * 3, height)};
}

// The part of a picture whose left, top, width and height these are; what lies outside of it repeats its edge.
Image cut(const Image& picture, const std::array<long, 4>& rectangle) {
  const auto [left, top, width, height] = rectangle;
  Image part{int(width), int(height), {}};
  for (long y = top; y < top + height; ++y) {
    const long row = std::clamp(y, 0L, long(picture.height) - 1);
    for (long x = left; x < left + width; ++x) {
      const auto from = picture.rgb.begin() + (row * picture.width + std::clamp(x, 0L, long(picture.width) - 1)) * 3;
      part.rgb.insert(part.rgb.end(), from, from + 3);
    }
  }
  return part;
}

#if defined(_M_X64) || defined(_M_IX86)
std::array<unsigned, 4> cpuid(int leaf, int part) {
  int found[4];
  __cpuidex(found, leaf, part);
  return {unsigned(found[0]), unsigned(found[1]), unsigned(found[2]), unsigned(found[3])};
}
#elif defined(__x86_64__) || defined(__i386__)
std::array<unsigned, 4> cpuid(int leaf, int part) {
  std::array<unsigned, 4> found{};
  __get_cpuid_count(leaf, part, &found[0], &found[1], &found[2], &found[3]);
  return found;
}
#else
#define EXPRESSION_NO_X86
#endif

// Whether ONNX Runtime must be asked for exact sums: x86 without VNNI adds products in 16 bits, which saturate.  Where
// there is VNNI, and on other processors, asking only costs time.
bool saturates() {
#ifdef EXPRESSION_NO_X86
  return false;
#else
  const auto features = cpuid(7, 0);
  const bool avx512 = features[1] >> 16 & 1, avx512_vnni = features[2] >> 11 & 1, avx_vnni = cpuid(7, 1)[0] >> 4 & 1;
  return avx512 ? !avx512_vnni : !avx_vnni;
#endif
}

Ort::SessionOptions options(bool exact) {
  Ort::SessionOptions options;
  if (exact) options.AddConfigEntry("session.x64quantprecision", "1");
  return options;
}

class ExpressionModel {
 public:
  explicit ExpressionModel(const fs::path& network, bool exact = saturates())
      : session_(env_, network.c_str(), options(exact)), contract_(FaceTimeline::read(network.parent_path().parent_path() / "preprocessing.json")) {
    Ort::AllocatorWithDefaultOptions allocator;
    for (std::size_t i = 0; i < session_.GetInputCount(); ++i) {
      inputs_.push_back(session_.GetInputNameAllocated(i, allocator).get());
      shapes_.push_back(session_.GetInputTypeInfo(i).GetTensorTypeAndShapeInfo().GetShape());
      if (shapes_[i][0] < 0) shapes_[i][0] = 1;  // a network that takes batches leaves their size open
    }
    for (std::size_t i = 0; i < session_.GetOutputCount(); ++i) {
      outputs_.push_back(session_.GetOutputNameAllocated(i, allocator).get());
    }
    reset();
  }

  // Another sequence begins: another face, or another video.
  void reset() {
    last_.clear();
    states_.clear();
    for (std::size_t i = 1; i < shapes_.size(); ++i) states_.emplace_back(count(shapes_[i]), 0.0f);
  }

  // Values of all outputs, as labels.txt names them, for an upright face crop of any size.
  std::vector<float> read(const Image& face) { return run(resize(face, int(side(1)), int(side(2))).rgb); }

  // The same for the next frame at exactly the network's size: height * width * 3 bytes, RGB.
  std::vector<float> run(Bytes pixels) {
    if (pixels.size() != std::size_t(side(1) * side(2) * 3)) throw std::runtime_error("not the network's input");
    Bytes shown = clip(std::move(pixels));
    const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    std::vector<Ort::Value> fed;
    fed.push_back(Ort::Value::CreateTensor<std::uint8_t>(memory, shown.data(), shown.size(), shapes_[0].data(), shapes_[0].size()));
    for (std::size_t i = 0; i < states_.size(); ++i) {
      const auto& shape = shapes_[i + 1];
      fed.push_back(Ort::Value::CreateTensor<float>(memory, states_[i].data(), states_[i].size(), shape.data(), shape.size()));
    }
    const auto input_names = pointers(inputs_), output_names = pointers(outputs_);
    const auto results =
        session_.Run(Ort::RunOptions{nullptr}, input_names.data(), fed.data(), fed.size(), output_names.data(), output_names.size());
    std::vector<float> values;
    for (std::size_t i = 0; i < results.size(); ++i) {  // behind the values are the states
      const std::size_t size = results[i].GetTensorTypeAndShapeInfo().GetElementCount(), heads = results.size() - states_.size();
      if (i < heads && has_integers()) {
        const Json& stored = contract_["integers"]["onnx"][outputs_[i]];
        const auto* first = results[i].GetTensorData<std::uint8_t>();
        for (std::size_t j = 0; j < size; ++j) values.push_back(float(stored["scale"].number * (first[j] - stored["zero_point"].number)));
        continue;
      }
      const float* first = results[i].GetTensorData<float>();
      if (i < heads) values.insert(values.end(), first, first + size);
      else states_[i - heads].assign(first, first + size);
    }
    return values;
  }

 private:
  // Whether it returns integers that stand for the values.
  bool has_integers() const { return contract_.object.count("integers") > 0; }

  // Of the image that is shown: 1 is its width, 2 its height.
  std::int64_t side(int from_end) const { return shapes_[0][shapes_[0].size() - 1 - from_end]; }

  // What the network reads: the frame; of clips the last frames, where the first stands for those before it.
  Bytes clip(Bytes frame) {
    if (shapes_[0].size() < 5) return frame;
    if (last_.empty()) last_.assign(std::size_t(shapes_[0][1]), frame);
    last_.erase(last_.begin());
    last_.push_back(std::move(frame));
    Bytes all;
    for (const auto& each : last_) all.insert(all.end(), each.begin(), each.end());
    return all;
  }

  static std::size_t count(const std::vector<std::int64_t>& shape) {
    std::size_t product = 1;
    for (const auto size : shape) product *= std::size_t(size);
    return product;
  }

  static std::vector<const char*> pointers(const std::vector<std::string>& names) {
    std::vector<const char*> found;
    for (const auto& name : names) found.push_back(name.c_str());
    return found;
  }

  Ort::Env env_{ORT_LOGGING_LEVEL_WARNING, "expression"};
  Ort::Session session_;
  Json contract_;
  std::vector<std::string> inputs_, outputs_;
  std::vector<std::vector<std::int64_t>> shapes_;
  std::vector<std::vector<float>> states_;
  std::vector<Bytes> last_;
};

fs::path network(const fs::path& package) {
  for (const auto& file : fs::directory_iterator(package / "models")) {
    if (file.path().extension() == ".onnx") return file.path();
  }
  throw std::runtime_error("no ONNX network in " + (package / "models").string());
}

Bytes contents(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path.string());
  return Bytes(std::istreambuf_iterator<char>(file), {});
}

Image ppm(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::string magic;
  Image image{};
  int most = 0;
  file >> magic >> image.width >> image.height >> most;
  if (!file || magic != "P6" || most != 255) throw std::runtime_error("not a PPM image: " + path.string());
  file.get();
  image.rgb.assign(std::istreambuf_iterator<char>(file), {});
  if (image.rgb.size() != std::size_t(image.width) * image.height * 3) throw std::runtime_error("truncated PPM image");
  return image;
}

// How far values are from those that a row of the table expects.
float difference(const std::vector<float>& values, const std::vector<float>& expected) {
  if (values.size() != expected.size()) return 1.0f;
  float largest = 0;
  for (std::size_t i = 0; i < values.size(); ++i) largest = std::max(largest, std::abs(values[i] - expected[i]));
  return std::isnan(largest) ? 1.0f : largest;
}

// What the last of some frames gives with exact sums.
std::vector<float> exactly(const fs::path& package, const std::vector<Bytes>& frames) {
  ExpressionModel model(network(package), true);
  std::vector<float> values;
  for (const auto& frame : frames) values = model.run(frame);
  return values;
}

bool golden(const fs::path& package) {
  ExpressionModel model(network(package));
  std::ifstream table(package / "golden" / "expected.tsv");
  std::string line;
  std::getline(table, line);  // the header
  bool passed = true;
  int count = 0;
  std::vector<Bytes> shown;
  while (std::getline(table, line)) {
    std::istringstream row(line);
    std::string name, artifact;
    float tolerance = 0;
    row >> name >> artifact >> tolerance;
    if (artifact != "onnx") continue;
    const std::vector<float> expected(std::istream_iterator<float>(row), {});
    const Bytes pixels = contents(package / "golden" / (name + ".rgb"));
    const float largest = difference(model.run(pixels), expected);
    std::cout << (largest <= tolerance ? "passed  " : "FAILED  ") << name << ": off by " << largest << '\n';
    shown.push_back(pixels);
    if (largest > tolerance && difference(exactly(package, shown), expected) <= tolerance) {
      std::cout << "        with session.x64quantprecision it passes: on this CPU ONNX Runtime's sums saturate\n";
    }
    passed = passed && largest <= tolerance;
    ++count;
  }
  return passed && count > 0;
}

int main(int argc, char** argv) try {
  if (argc != 3 && argc != 7) throw std::runtime_error("usage: expression PACKAGE (face.ppm [X Y W H] | --golden)");
  const fs::path package = argv[1];
  if (std::string(argv[2]) == "--golden") {
    const bool both[] = {golden(package), traces(package, std::cout)};
    return both[0] && both[1] ? 0 : 1;
  }
  Image shown = ppm(argv[2]);
  if (argc == 7) {
    const double box[] = {std::stod(argv[3]), std::stod(argv[4]), std::stod(argv[5]), std::stod(argv[6])};
    shown = cut(shown, FaceTimeline(package).rectangle(box[0], box[1], box[2], box[3]));
  }
  const auto values = ExpressionModel(network(package)).read(shown);
  std::ifstream labels(package / "labels.txt");
  std::string label;
  for (std::size_t i = 0; i < values.size() && std::getline(labels, label); ++i) {
    std::cout << label << '\t' << values[i] << '\n';
  }
  return 0;
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 2;
}
