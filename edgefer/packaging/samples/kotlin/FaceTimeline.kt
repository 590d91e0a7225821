// A face before a camera: on which frames to ask the network, and its answers, smoothed.
//
//   val timeline = FaceTimeline.load(context.assets)                       // one for each face that is followed
//   val pixels = model.pixels(picture, timeline.rectangle(x, y, w, h))     // Bitmap, and a face's box in it
//   val scores = timeline.see(frame, seconds) { model.run(pixels) }
//   timeline.see(frame, seconds, null)                                     // the face is not in this frame
//   check(goldenTraces(context.assets).all { it.passed })                  // in androidTest
//
// Put video.json and preprocessing.json of the package into src/main/assets, too.
//
// `see` asks at once, later, or never, as video.json says; so a frame's pixels must not change.  What a network would
// carry from frame to frame belongs to the face: to what `ask` closes over.

package dev.edgefer.sample

import android.content.res.AssetManager
import kotlin.math.abs
import kotlin.math.floor
import kotlin.math.max
import kotlin.math.min
import kotlin.math.round
import org.json.JSONArray
import org.json.JSONObject

private const val INSTANT_S = 1e-9

/** Follows one face in time; `asked` holds frame and level of what the last call of `see` asked the network. */
class FaceTimeline(video: JSONObject, crop: JSONObject?) {
    private class Output(val first: Int, val end: Int, val back: Double)

    private class Waiting(val frame: Int, val time: Double, val ask: () -> FloatArray)

    private class Point(val time: Double, val values: FloatArray)

    private val margin = crop?.getDouble("margin") ?: 0.0
    private val square = crop?.getBoolean("square") ?: false
    private val gap = video.getDouble("gap_s")
    private val windowLength = video.getJSONObject("levels").getDouble("window_s")
    private val strides = video.getJSONObject("levels").getJSONArray("strides").numbers().map { it.toInt() }
    private val thresholds = video.getJSONObject("levels").getJSONArray("thresholds").numbers()
    private val outputs = mutableListOf<Output>()
    private var confident = Output(0, 0, 0.0)

    var asked = listOf<Pair<Int, Int>>()
        private set
    private var window = Double.NEGATIVE_INFINITY
    private var waiting = listOf<Waiting>()
    private var answers = listOf<FloatArray>()
    private var begun = Double.NEGATIVE_INFINITY
    private var seen = Double.NEGATIVE_INFINITY
    private var known = listOf<Point>()

    init {
        var first = 0
        for (output in video.getJSONArray("outputs").objects()) {
            outputs += Output(first, first + output.getInt("values"), output.getDouble("back_s"))
            if (output.getString("name") == video.getJSONObject("levels").getString("output")) confident = outputs.last()
            first = outputs.last().end
        }
    }

    /** Left, top, width and height of what the network is shown of a face whose box this is. */
    fun rectangle(x: Double, y: Double, width: Double, height: Double): List<Int> {
        var wide = width * (1 + 2 * margin)
        var tall = height * (1 + 2 * margin)
        if (square) {
            wide = max(wide, tall)
            tall = wide
        }
        val across = max(round(wide).toInt(), 1) // kotlin.math.round rounds half to even
        val down = max(round(tall).toInt(), 1)
        return listOf(round(x + width / 2 - across / 2.0).toInt(), round(y + height / 2 - down / 2.0).toInt(), across, down)
    }

    /** Values of all outputs, smoothed; null where nothing is known. Frames without a face count too, and have no `ask`. */
    fun see(frame: Int, time: Double, ask: (() -> FloatArray)?): List<Double>? {
        asked = listOf()
        val window = floor(time / windowLength + INSTANT_S)
        if (window != this.window) finish()
        this.window = window
        if (ask != null) {
            if (time - seen > gap + INSTANT_S) begun = time
            seen = time
            if (frame % strides.first() == 0) {
                ask(frame, time, 1, ask)
            } else if (frame % strides.last() == 0) {
                waiting = waiting + Waiting(frame, time, ask)
            }
        }
        forget(time)
        return smooth(time)
    }

    /** Asks about the window that is over, level by level, until an answer is sure enough. */
    private fun finish() {
        for ((level, stride) in strides.withIndex()) {
            val (here, left) = waiting.partition { it.frame % stride == 0 }
            for (each in here) ask(each.frame, each.time, level + 1, each.ask)
            waiting = left
            if (confidence() >= thresholds[level]) break
        }
        waiting = listOf()
        answers = listOf()
    }

    /** The largest mean value over the answers in this window. */
    private fun confidence(): Double {
        if (answers.isEmpty()) return Double.NEGATIVE_INFINITY
        return (confident.first until confident.end).maxOf { i -> answers.sumOf { it[i].toDouble() } / answers.size }
    }

    private fun ask(frame: Int, time: Double, level: Int, ask: () -> FloatArray) {
        val values = ask()
        asked = asked + Pair(frame, level)
        answers = answers + values
        known = known + Point(time, values)
    }

    /** Keeps of what is older than all means only the last, where the line begins that they are taken of. */
    private fun forget(time: Double) {
        known = known.sortedBy { it.time }
        val oldest = time - outputs.maxOf { it.back }
        while (known.size > 1 && known[1].time <= oldest) known = known.drop(1)
    }

    private fun smooth(time: Double): List<Double>? {
        val points = known.filter { it.time >= begun }
        if (time - seen > gap + INSTANT_S || points.isEmpty()) return null
        return outputs.flatMap { output ->
            val high = points.last().time
            val low = max(points.first().time, min(time - output.back, high))
            (output.first until output.end).map { mean(points, it, low, high) }
        }
    }

    /** Mean between two times of the line through values at times, of which `high` is the last. */
    private fun mean(points: List<Point>, column: Int, low: Double, high: Double): Double {
        if (high - low <= INSTANT_S) return points.last().values[column].toDouble()
        var area = 0.0
        for ((from, to) in points.zipWithNext()) {
            val begin = max(from.time, low)
            if (begin >= to.time) continue
            val first = from.values[column].toDouble()
            val last = to.values[column].toDouble()
            val atBegin = first + (last - first) * ((begin - from.time) / (to.time - from.time))
            area += (atBegin + last) / 2 * (to.time - begin)
        }
        return area / (high - low)
    }

    companion object {
        fun load(assets: AssetManager): FaceTimeline = FaceTimeline(assets.json("video.json"), assets.crop())
    }
}

/** The package's own traces: what this device makes of scores over time, against what it should. */
fun goldenTraces(assets: AssetManager): List<GoldenResult> =
    goldenTraces(assets.json("video.json"), assets.crop(), assets.json("golden/traces.json"))

fun goldenTraces(video: JSONObject, crop: JSONObject?, expected: JSONObject): List<GoldenResult> {
    val fits = expected.getJSONArray("crops").objects().all {
        val (x, y, width, height) = it.getJSONArray("box").numbers()
        FaceTimeline(video, crop).rectangle(x, y, width, height) == it.getJSONArray("rectangle").ints()
    }
    return listOf(GoldenResult("crops", 0f, fits)) + expected.getJSONArray("traces").objects().map { trace ->
        val timeline = FaceTimeline(video, crop)
        var difference = 0.0
        var same = true
        trace.getJSONArray("frames").objects().forEachIndexed { index, frame ->
            val scores = frame.optJSONArray("scores")?.numbers()?.map { it.toFloat() }?.toFloatArray()
            val found = timeline.see(index, frame.getDouble("time_s"), scores?.let { { it } })
            val smooth = frame.optJSONArray("smooth")?.numbers()
            val asked = frame.getJSONArray("asked")
            same = same && found?.size == smooth?.size && timeline.asked.flatMap { it.toList() } ==
                (0 until asked.length()).flatMap { asked.getJSONArray(it).ints() }
            found?.zip(smooth.orEmpty()) { a, b -> difference = max(difference, abs(a - b)) }
        }
        GoldenResult(trace.getString("name"), difference.toFloat(), same && difference <= expected.getDouble("tolerance"))
    }
}

private fun AssetManager.json(name: String) = JSONObject(open(name).bufferedReader().use { it.readText() })

private fun AssetManager.crop() = json("preprocessing.json").getJSONObject("input").optJSONObject("face_crop")

private fun JSONArray.objects() = (0 until length()).map { getJSONObject(it) }

private fun JSONArray.numbers() = (0 until length()).map { getDouble(it) }

private fun JSONArray.ints() = numbers().map { it.toInt() }
