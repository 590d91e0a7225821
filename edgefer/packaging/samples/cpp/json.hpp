// Reads the package's JSON files, so that the sample needs no library for that.  Use your own where you have one.

#pragma once

#include <cstdlib>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

struct Json {
  enum class Kind { kNull, kFlag, kNumber, kText, kList, kObject } kind = Kind::kNull;
  double number = 0;  // of a flag, 0 or 1
  std::string text;
  std::vector<Json> list;
  std::map<std::string, Json> object;

  bool empty() const { return kind == Kind::kNull; }
  const Json& operator[](const std::string& name) const { return object.at(name); }

  std::vector<double> numbers() const {
    std::vector<double> found;
    for (const Json& each : list) found.push_back(each.number);
    return found;
  }

  static Json parse(const std::string& text) {
    std::size_t at = 0;
    return value(text, at);
  }

 private:
  static char peek(const std::string& text, std::size_t& at) {
    at = text.find_first_not_of(" \t\r\n", at);
    if (at == std::string::npos) throw std::runtime_error("JSON ends too early");
    return text[at];
  }

  static bool skip(const std::string& text, std::size_t& at, char wanted) {
    const bool is_there = peek(text, at) == wanted;
    at += is_there;
    return is_there;
  }

  static void expect(const std::string& text, std::size_t& at, char wanted) {
    if (!skip(text, at, wanted)) throw std::runtime_error(std::string("JSON lacks a ") + wanted);
  }

  static Json value(const std::string& text, std::size_t& at) {
    Json found;
    const char first = peek(text, at);
    if (skip(text, at, '{')) {
      found.kind = Kind::kObject;
      while (!skip(text, at, '}')) {
        std::string name = string(text, at);
        expect(text, at, ':');
        found.object.emplace(std::move(name), value(text, at));
        if (peek(text, at) != '}') expect(text, at, ',');
      }
    } else if (skip(text, at, '[')) {
      found.kind = Kind::kList;
      while (!skip(text, at, ']')) {
        found.list.push_back(value(text, at));
        if (peek(text, at) != ']') expect(text, at, ',');
      }
    } else if (first == '"') {
      found.kind = Kind::kText;
      found.text = string(text, at);
    } else if (first == 't' || first == 'f') {
      found.kind = Kind::kFlag;
      found.number = first == 't';
      at += first == 't' ? 4 : 5;
    } else if (first == 'n') {
      at += 4;
    } else {
      char* end = nullptr;
      found.kind = Kind::kNumber;
      found.number = std::strtod(text.c_str() + at, &end);
      if (end == text.c_str() + at) throw std::runtime_error("JSON holds what is no value");
      at = std::size_t(end - text.c_str());
    }
    return found;
  }

  static std::string string(const std::string& text, std::size_t& at) {  // escapes stay as they are
    expect(text, at, '"');
    std::string found;
    while (text.at(at) != '"') {
      if (text[at] == '\\') found += text[at++];
      found += text.at(at++);
    }
    ++at;
    return found;
  }
};
