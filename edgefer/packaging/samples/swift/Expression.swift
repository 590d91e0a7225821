// What expression does a face crop show?  iOS with TensorFlow Lite's Swift library (CocoaPods: TensorFlowLiteSwift).
//
// Add models/, golden/ and labels.txt of the package to the app as folder references, and the golden tests to its tests:
//
//   let model = try ExpressionModel(package: Bundle.main.bundleURL)
//   try model.read(faceCrop)["happy"]                                // CGImage, upright, of any size
//   XCTAssert(try goldenTests(model, package: Bundle.main.bundleURL).allSatisfy(\.passed))
//
// For faces in video, FaceTimeline.swift says when to ask the network, and smooths its answers.  A network that carries
// states, or reads clips (preprocessing.json says so), is shown every frame of a face, and `reset` where another begins.
//
// edgefer's own tests only parse this file: there was no Swift toolchain to compile it with.

import CoreGraphics
import Foundation
import TensorFlowLite

final class ExpressionModel {
  private let interpreter: Interpreter
  private let labels: [String]
  private let height: Int
  private let width: Int
  private let frames: Int
  private var last: [[UInt8]] = []
  private var states: [Data] = []

  init(package: URL) throws {
    let models = package.appendingPathComponent("models")
    let files = try FileManager.default.contentsOfDirectory(at: models, includingPropertiesForKeys: nil)
    guard let network = files.first(where: { $0.pathExtension == "tflite" }) else {
      throw CocoaError(.fileNoSuchFile)
    }
    interpreter = try Interpreter(modelPath: network.path)
    try interpreter.allocateTensors()
    let shape = try interpreter.input(at: 0).shape.dimensions
    (height, width) = (shape[shape.count - 3], shape[shape.count - 2])
    frames = shape.count > 4 ? shape[1] : 1
    labels = try lines(of: package.appendingPathComponent("labels.txt"))
    try reset()
  }

  /// Another sequence begins: another face, or another video.
  func reset() throws {
    last = []
    states = try (1..<interpreter.inputTensorCount).map { Data(count: try interpreter.input(at: $0).data.count) }
  }

  /// Value by label for an upright face crop of any size.
  func read(_ face: CGImage) throws -> [String: Float] {
    try Dictionary(zip(labels, run(pixels(of: face))), uniquingKeysWith: { _, last in last })
  }

  /// Values of all outputs for the next frame at exactly the network's size: height * width * 3 bytes, RGB.
  func run(_ pixels: [UInt8]) throws -> [Float] {
    last = Array((last + Array(repeating: pixels, count: last.isEmpty ? frames : 1)).suffix(frames))
    try interpreter.copy(Data(last.joined()), toInputAt: 0)
    for (index, state) in states.enumerated() {
      try interpreter.copy(state, toInputAt: index + 1)
    }
    try interpreter.invoke()
    let outputs = try (0..<interpreter.outputTensorCount).map { try interpreter.output(at: $0).data }
    let values = outputs.dropLast(states.count)  // behind them are the states
    states = Array(outputs.suffix(states.count))
    return values.flatMap { output in output.withUnsafeBytes { Array($0.bindMemory(to: Float.self)) } }
  }

  /// The network's input; not normalised, the network does that inside.
  func pixels(of face: CGImage) throws -> [UInt8] {
    try pixels(of: face, in: [0, 0, face.width, face.height])
  }

  /// The same of a part of a picture: left, top, width, height. What lies outside of the picture repeats its edge.
  func pixels(of picture: CGImage, in rectangle: [Int]) throws -> [UInt8] {
    var rgba = [UInt8](repeating: 0, count: picture.width * picture.height * 4)
    let drawn = rgba.withUnsafeMutableBytes { memory -> Bool in
      guard
        let context = CGContext(
          data: memory.baseAddress, width: picture.width, height: picture.height, bitsPerComponent: 8,
          bytesPerRow: picture.width * 4, space: CGColorSpace(name: CGColorSpace.sRGB)!,
          bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue)
      else { return false }
      context.draw(picture, in: CGRect(x: 0, y: 0, width: picture.width, height: picture.height))
      return true
    }
    guard drawn else { throw CocoaError(.coderInvalidValue) }
    let (left, top, across, down) = (rectangle[0], rectangle[1], rectangle[2], rectangle[3])
    let rgb = (0..<across * down * 3).map { index -> UInt8 in
      let x = min(max(left + index / 3 % across, 0), picture.width - 1)
      let y = min(max(top + index / 3 / across, 0), picture.height - 1)
      return rgba[(y * picture.width + x) * 4 + index % 3]
    }
    return resize(rgb, width: across, height: down, toWidth: width, toHeight: height)
  }
}

struct GoldenResult {
  let name: String
  let difference: Float
  let passed: Bool
}

/// The package's own tests: what this device says about the drawings, against what it should say.
func goldenTests(_ model: ExpressionModel, package: URL) throws -> [GoldenResult] {
  let golden = package.appendingPathComponent("golden")
  return try lines(of: golden.appendingPathComponent("expected.tsv")).dropFirst().compactMap { line in
    let row = line.components(separatedBy: "\t")
    guard row[1] == "tflite", let tolerance = Float(row[2]) else { return nil }
    let values = try model.run([UInt8](Data(contentsOf: golden.appendingPathComponent("\(row[0]).rgb"))))
    let difference = zip(values, row.dropFirst(3)).map { abs($0 - (Float($1) ?? .infinity)) }.max() ?? .infinity
    return GoldenResult(name: row[0], difference: difference, passed: difference <= tolerance)
  }
}

/// RGB pixels at another size, as PREPROCESSING.md says.
func resize(_ rgb: [UInt8], width: Int, height: Int, toWidth: Int, toHeight: Int) -> [UInt8] {
  let across = resample(rgb, outer: height, length: width, inner: 3, count: toWidth)
  return resample(across, outer: 1, length: height, inner: toWidth * 3, count: toHeight)
}

/// How much an input pixel counts at a distance from the output's centre, in output pixels: a triangle.
private func weight(_ distance: Double) -> Double { max(0, 1 - abs(distance)) }

/// Weighted sums along the middle axis of pixels laid out as (outer, length, inner).
private func resample(_ pixels: [UInt8], outer: Int, length: Int, inner: Int, count: Int) -> [UInt8] {
  let one = 1 << 22  // weights are integers: the sums are equal on every machine
  let scale = Double(length) / Double(count)
  let reach = max(scale, 1)
  var result = [UInt8](repeating: 0, count: outer * count * inner)
  for out in 0..<count {
    let centre = (Double(out) + 0.5) * scale
    let start = max(0, Int((centre - reach).rounded(.down)))
    let stop = min(length, Int((centre + reach).rounded(.up)))
    let shares = (start..<stop).map { weight((Double($0) + 0.5 - centre) / reach) }
    let sum = shares.reduce(0, +)
    let weights = shares.map { Int($0 / sum * Double(one) + 0.5) }
    for row in 0..<outer {
      for column in 0..<inner {
        var total = one / 2
        for (i, weight) in weights.enumerated() {
          total += weight * Int(pixels[(row * length + start + i) * inner + column])
        }
        result[(row * count + out) * inner + column] = UInt8(min(max(total / one, 0), 255))
      }
    }
  }
  return result
}

private func lines(of file: URL) throws -> [String] {
  try String(contentsOf: file, encoding: .utf8).split(separator: "\n").map(String.init)
}
