// Stands in for ONNX Runtime's C++ header, which no Python package carries: just what the C++ sample uses, on top of
// the C interface of the library in onnxruntime's wheel. That interface is a table of functions whose places never
// change; the numbers below are places in it. Nothing is released: a test ends soon enough.

#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

struct OrtApiBase {
  const void* const* (*GetApi)(std::uint32_t version);
  const char* (*GetVersionString)();
};
extern "C" const OrtApiBase* OrtGetApiBase();

enum OrtLoggingLevel { ORT_LOGGING_LEVEL_WARNING = 2 };
enum OrtAllocatorType { OrtArenaAllocator = 1 };
enum OrtMemType { OrtMemTypeDefault = 0 };

namespace Ort {

template <typename... Arguments>
void call(std::size_t place, Arguments... arguments) {
  const void* const* table = OrtGetApiBase()->GetApi(17);
  const auto function = reinterpret_cast<void* (*)(Arguments...)>(const_cast<void*>(table[place]));
  if (void* status = function(arguments...)) {
    const auto message = reinterpret_cast<const char* (*)(void*)>(const_cast<void*>(table[2]));
    throw std::runtime_error(message(status));
  }
}

template <typename Result, typename... Arguments>
Result made(std::size_t place, Arguments... arguments) {
  Result result{};
  call(place, arguments..., &result);
  return result;
}

struct Env {
  Env(OrtLoggingLevel level, const char* name) : handle(made<void*>(3, level, name)) {}
  void* handle;
};

struct SessionOptions {
  void AddConfigEntry(const char* key, const char* value) { call(130, handle, key, value); }
  void* handle = made<void*>(10);
};

struct RunOptions {
  explicit RunOptions(std::nullptr_t) {}
};

struct AllocatorWithDefaultOptions {
  void* handle = made<void*>(78);
};

struct MemoryInfo {
  static MemoryInfo CreateCpu(OrtAllocatorType allocator, OrtMemType type) {
    return {made<void*>(69, allocator, type)};
  }
  void* handle;
};

struct AllocatedString {
  const char* get() const { return text; }
  char* text;
};

struct TensorTypeAndShapeInfo {
  std::vector<std::int64_t> GetShape() const {
    std::vector<std::int64_t> shape(made<std::size_t>(61, handle));
    call(62, handle, shape.data(), shape.size());
    return shape;
  }
  std::size_t GetElementCount() const { return made<std::size_t>(64, handle); }
  const void* handle;
};

struct TypeInfo {
  TensorTypeAndShapeInfo GetTensorTypeAndShapeInfo() const { return {made<const void*>(55, handle)}; }
  const void* handle;
};

struct Value {
  template <typename T>
  static Value CreateTensor(const MemoryInfo& memory, T* data, std::size_t count, const std::int64_t* shape,
                            std::size_t rank) {
    constexpr int kFloat = 1, kUint8 = 2;
    static_assert(sizeof(T) == 1 || sizeof(T) == 4, "the sample makes tensors of bytes and of floats");
    constexpr int kind = sizeof(T) == 1 ? kUint8 : kFloat;
    return {made<void*>(49, memory.handle, static_cast<void*>(data), count * sizeof(T), shape, rank, kind)};
  }
  template <typename T>
  const T* GetTensorData() const {
    return static_cast<const T*>(made<void*>(51, handle));
  }
  TensorTypeAndShapeInfo GetTensorTypeAndShapeInfo() const { return {made<void*>(65, handle)}; }
  void* handle;
};

struct Session {
  Session(const Env& env, const char* path, const SessionOptions& options)
      : handle(made<void*>(7, env.handle, path, options.handle)) {}
  std::size_t GetInputCount() const { return made<std::size_t>(30, handle); }
  std::size_t GetOutputCount() const { return made<std::size_t>(31, handle); }
  TypeInfo GetInputTypeInfo(std::size_t index) const { return {made<void*>(33, handle, index)}; }
  AllocatedString GetInputNameAllocated(std::size_t index, const AllocatorWithDefaultOptions& allocator) const {
    return {made<char*>(36, handle, index, allocator.handle)};
  }
  AllocatedString GetOutputNameAllocated(std::size_t index, const AllocatorWithDefaultOptions& allocator) const {
    return {made<char*>(37, handle, index, allocator.handle)};
  }
  std::vector<Value> Run(const RunOptions&, const char* const* input_names, const Value* inputs, std::size_t input_count,
                         const char* const* output_names, std::size_t output_count) {
    std::vector<void*> outputs(output_count, nullptr);
    std::vector<const void*> fed;
    for (std::size_t i = 0; i < input_count; ++i) fed.push_back(inputs[i].handle);
    call(9, handle, static_cast<void*>(nullptr), input_names, static_cast<const void* const*>(fed.data()), input_count,
         output_names, output_count, outputs.data());
    std::vector<Value> values;
    for (void* output : outputs) values.push_back({output});
    return values;
  }
  void* handle;
};

}  // namespace Ort
