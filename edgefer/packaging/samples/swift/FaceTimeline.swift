// A face before a camera: on which frames to ask the network, and its answers, smoothed.
//
//   let timeline = try FaceTimeline(package: Bundle.main.bundleURL)        // one for each face that is followed
//   let cut = timeline.rectangle(x: x, y: y, width: w, height: h)          // left, top, width, height in the picture
//   let pixels = try model.pixels(of: picture, in: cut)                    // CGImage
//   let scores = try timeline.see(frame, time: seconds) { try model.run(pixels) }
//   try timeline.see(frame, time: seconds, ask: nil)                       // the face is not in this frame
//   XCTAssert(try goldenTraces(package: Bundle.main.bundleURL).allSatisfy(\.passed))
//
// Add video.json and preprocessing.json of the package to the app, too.
//
// `see` asks at once, later, or never, as video.json says; so a frame's pixels must not change.  What a network would
// carry from frame to frame belongs to the face: to what `ask` captures.
//
// edgefer's own tests only parse this file: there was no Swift toolchain to compile it with.

import Foundation

private let instant = 1e-9

/// What video.json says.
struct VideoContract: Decodable {
  struct Output: Decodable {
    let name: String
    let values: Int
    let back_s: Double
  }
  struct Levels: Decodable {
    let output: String
    let window_s: Double
    let strides: [Int]
    let thresholds: [Double]
  }
  let gap_s: Double
  let outputs: [Output]
  let levels: Levels
}

/// The part of preprocessing.json that says how faces are cut out.
struct CropContract: Decodable {
  struct Input: Decodable { let face_crop: Crop? }
  struct Crop: Decodable {
    let margin: Double
    let square: Bool
  }
  let input: Input
}

/// Follows one face in time; `asked` holds frame and level of what the last call of `see` asked the network.
final class FaceTimeline {
  typealias Ask = () throws -> [Float]

  private let margin: Double
  private let square: Bool
  private let gap: Double
  private let levels: VideoContract.Levels
  private var outputs: [(columns: Range<Int>, back: Double)] = []
  private var confident = 0..<0

  private(set) var asked: [(frame: Int, level: Int)] = []
  private var window = -Double.infinity
  private var waiting: [(frame: Int, time: Double, ask: Ask)] = []
  private var answers: [[Float]] = []
  private var begun = -Double.infinity
  private var seen = -Double.infinity
  private var known: [(time: Double, values: [Float])] = []

  init(package: URL) throws {
    let video: VideoContract = try decoded(package.appendingPathComponent("video.json"))
    let contract: CropContract = try decoded(package.appendingPathComponent("preprocessing.json"))
    margin = contract.input.face_crop?.margin ?? 0
    square = contract.input.face_crop?.square ?? false
    gap = video.gap_s
    levels = video.levels
    var first = 0
    for output in video.outputs {
      let columns = first..<(first + output.values)
      outputs.append((columns: columns, back: output.back_s))
      if output.name == levels.output { confident = columns }
      first = columns.upperBound
    }
  }

  /// Left, top, width and height of what the network is shown of a face whose box this is.
  func rectangle(x: Double, y: Double, width: Double, height: Double) -> [Int] {
    var wide = width * (1 + 2 * margin)
    var tall = height * (1 + 2 * margin)
    if square {
      wide = max(wide, tall)
      tall = wide
    }
    let across = max(Int(wide.rounded(.toNearestOrEven)), 1)
    let down = max(Int(tall.rounded(.toNearestOrEven)), 1)
    let left = (x + width / 2 - Double(across) / 2).rounded(.toNearestOrEven)
    let top = (y + height / 2 - Double(down) / 2).rounded(.toNearestOrEven)
    return [Int(left), Int(top), across, down]
  }

  /// Values of all outputs, smoothed; nil where nothing is known. Frames without a face count too, and have no `ask`.
  @discardableResult
  func see(_ frame: Int, time: Double, ask: Ask?) throws -> [Double]? {
    asked = []
    let window = (time / levels.window_s + instant).rounded(.down)
    if window != self.window { try finish() }
    self.window = window
    if let ask = ask {
      if time - seen > gap + instant { begun = time }
      seen = time
      if frame % levels.strides.first! == 0 {
        try self.ask(frame, time, 1, ask)
      } else if frame % levels.strides.last! == 0 {
        waiting.append((frame: frame, time: time, ask: ask))
      }
    }
    forget(time)
    return smooth(time)
  }

  /// Asks about the window that is over, level by level, until an answer is sure enough.
  private func finish() throws {
    for (level, stride) in levels.strides.enumerated() {
      for each in waiting where each.frame % stride == 0 {
        try ask(each.frame, each.time, level + 1, each.ask)
      }
      waiting = waiting.filter { $0.frame % stride != 0 }
      if confidence() >= levels.thresholds[level] { break }
    }
    waiting = []
    answers = []
  }

  /// The largest mean value over the answers in this window.
  private func confidence() -> Double {
    if answers.isEmpty { return -Double.infinity }
    let means = confident.map { i in answers.reduce(0.0) { $0 + Double($1[i]) } / Double(answers.count) }
    return means.max()!
  }

  private func ask(_ frame: Int, _ time: Double, _ level: Int, _ ask: Ask) throws {
    let values = try ask()
    asked.append((frame: frame, level: level))
    answers.append(values)
    known.append((time: time, values: values))
  }

  /// Keeps of what is older than all means only the last, where the line begins that they are taken of.
  private func forget(_ time: Double) {
    known.sort { $0.time < $1.time }
    let oldest = time - outputs.map { $0.back }.max()!
    while known.count > 1 && known[1].time <= oldest { known.removeFirst() }
  }

  private func smooth(_ time: Double) -> [Double]? {
    let points = known.filter { $0.time >= begun }
    if time - seen > gap + instant || points.isEmpty { return nil }
    return outputs.flatMap { output -> [Double] in
      let high = points.last!.time
      let low = max(points.first!.time, min(time - output.back, high))
      return output.columns.map { mean(points, $0, low, high) }
    }
  }

  /// Mean between two times of the line through values at times, of which `high` is the last.
  private func mean(_ points: [(time: Double, values: [Float])], _ column: Int, _ low: Double, _ high: Double) -> Double {
    if high - low <= instant { return Double(points.last!.values[column]) }
    var area = 0.0
    for (from, to) in zip(points, points.dropFirst()) {
      let begin = max(from.time, low)
      if begin >= to.time { continue }
      let first = Double(from.values[column])
      let last = Double(to.values[column])
      let atBegin = first + (last - first) * ((begin - from.time) / (to.time - from.time))
      area += (atBegin + last) / 2 * (to.time - begin)
    }
    return area / (high - low)
  }
}

/// What golden/traces.json says.
private struct Traces: Decodable {
  struct Crop: Decodable {
    let box: [Double]
    let rectangle: [Int]
  }
  struct Frame: Decodable {
    let time_s: Double
    let scores: [Float]?
    let asked: [[Int]]
    let smooth: [Double]?
  }
  struct Trace: Decodable {
    let name: String
    let frames: [Frame]
  }
  let tolerance: Double
  let crops: [Crop]
  let traces: [Trace]
}

/// The package's own traces: what this device makes of scores over time, against what it should.
func goldenTraces(package: URL) throws -> [GoldenResult] {
  let expected: Traces = try decoded(package.appendingPathComponent("golden/traces.json"))
  let cutter = try FaceTimeline(package: package)
  let fits = expected.crops.allSatisfy { crop in
    cutter.rectangle(x: crop.box[0], y: crop.box[1], width: crop.box[2], height: crop.box[3]) == crop.rectangle
  }
  return try [GoldenResult(name: "crops", difference: 0, passed: fits)]
    + expected.traces.map { trace in
      let timeline = try FaceTimeline(package: package)
      var difference = 0.0
      var same = true
      for (index, frame) in trace.frames.enumerated() {
        var ask: FaceTimeline.Ask?
        if let scores = frame.scores { ask = { scores } }
        let found = try timeline.see(index, time: frame.time_s, ask: ask)
        same = same && found?.count == frame.smooth?.count
        same = same && timeline.asked.map { [$0.frame, $0.level] } == frame.asked
        for (a, b) in zip(found ?? [], frame.smooth ?? []) { difference = max(difference, abs(a - b)) }
      }
      let passed = same && difference <= expected.tolerance
      return GoldenResult(name: trace.name, difference: Float(difference), passed: passed)
    }
}

private func decoded<Contract: Decodable>(_ file: URL) throws -> Contract {
  try JSONDecoder().decode(Contract.self, from: Data(contentsOf: file))
}
