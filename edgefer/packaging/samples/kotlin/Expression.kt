// What expression does a face crop show?  Android with LiteRT:
//
//   implementation("com.google.ai.edge.litert:litert:2.2.0")         // build.gradle.kts; minSdk 24, compileSdk 36
//   androidResources { noCompress += "tflite" }
//
// Its libraries are aligned to pages of 16 KB, which Google Play demands.  The Interpreter, on the CPU, is in LiteRT 1.x,
// and in 2.x from 2.1 on.
//
// Put models/, golden/ and labels.txt of the package into src/main/assets, and add the golden tests to androidTest:
//
//   val model = ExpressionModel.load(context.assets)
//   model.read(faceCrop)["happy"]                                    // upright, of any size
//   check(goldenTests(model, context.assets).all { it.passed })
//
// For faces in video, FaceTimeline.kt says when to ask the network, and smooths its answers.  A network that carries states,
// or reads clips (preprocessing.json says so), is shown every frame of a face, and `reset` where another begins.
//
// edgefer's own tests compile both files (Kotlin 2) against stand-ins for the classes of Android and of LiteRT 1.4.0, and
// run the resizing and the traces; nobody has run them on a phone for you.

package dev.edgefer.sample

import android.content.res.AssetManager
import android.graphics.Bitmap
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.abs
import kotlin.math.ceil
import kotlin.math.floor
import kotlin.math.max
import kotlin.math.min
import org.tensorflow.lite.DataType
import org.tensorflow.lite.Interpreter
import org.tensorflow.lite.Tensor

class ExpressionModel(network: ByteBuffer, private val labels: List<String>) : AutoCloseable {
    private val interpreter = Interpreter(network, Interpreter.Options().setNumThreads(2))
    private val shape = interpreter.getInputTensor(0).shape()
    private val height = shape[shape.size - 3]
    private val width = shape[shape.size - 2]
    private val isInteger = interpreter.getInputTensor(0).dataType() == DataType.INT8 // then it takes pixels less 128
    private val last = ArrayDeque<ByteArray>()
    private var states = listOf<ByteBuffer>()

    init {
        reset()
    }

    /** Another sequence begins: another face, or another video. */
    fun reset() {
        last.clear()
        states = (1 until interpreter.inputTensorCount).map { buffer(interpreter.getInputTensor(it).numBytes()) }
    }

    /** Value by label for an upright face crop of any size. */
    fun read(face: Bitmap): Map<String, Float> = labels.zip(run(pixels(face)).asIterable()).toMap()

    /** Values of all outputs for the next frame at exactly the network's size: height * width * 3 bytes, RGB. */
    fun run(pixels: ByteArray): FloatArray {
        val shown = clip(pixels)
        val input = buffer(shown.sumOf { it.size })
        shown.forEach { input.put(if (isInteger) lessHalf(it) else it) }
        val outputs = (0 until interpreter.outputTensorCount).associateWith { buffer(interpreter.getOutputTensor(it).numBytes()) }
        (states + input).forEach { it.rewind() }
        interpreter.runForMultipleInputsOutputs((listOf<Any>(input) + states).toTypedArray(), outputs)
        outputs.values.forEach { it.rewind() }
        states = outputs.values.drop(outputs.size - states.size) // behind the values
        return outputs.entries.take(outputs.size - states.size).flatMap { (index, output) ->
            if (isInteger) real(output, interpreter.getOutputTensor(index).quantizationParams())
            else List(output.remaining() / Float.SIZE_BYTES) { output.getFloat() }
        }.toFloatArray()
    }

    private fun lessHalf(pixels: ByteArray) = ByteArray(pixels.size) { (pixels[it] - 128).toByte() }

    /** What the integers of an output stand for. */
    private fun real(output: ByteBuffer, stored: Tensor.QuantizationParams) =
        List(output.remaining()) { stored.scale * (output.get() - stored.zeroPoint) }

    /** What the network reads: the frame; of clips the last frames, where the first stands for those before it. */
    private fun clip(pixels: ByteArray): List<ByteArray> {
        if (shape.size < 5) return listOf(pixels)
        repeat(if (last.isEmpty()) shape[1] else 1) { last.addLast(pixels) }
        while (last.size > shape[1]) last.removeFirst()
        return last
    }

    private fun buffer(bytes: Int) = ByteBuffer.allocateDirect(bytes).order(ByteOrder.nativeOrder())

    /** The network's input; not normalised, the network does that inside. */
    fun pixels(face: Bitmap): ByteArray = pixels(face, listOf(0, 0, face.width, face.height))

    /** The same of a part of a picture: left, top, width, height. What lies outside of the picture repeats its edge. */
    fun pixels(picture: Bitmap, rectangle: List<Int>): ByteArray {
        val (left, top, across, down) = rectangle
        val argb = IntArray(picture.width * picture.height)
        picture.getPixels(argb, 0, picture.width, 0, 0, picture.width, picture.height)
        val rgb = ByteArray(across * down * 3) {
            val x = (left + it / 3 % across).coerceIn(0, picture.width - 1)
            val y = (top + it / 3 / across).coerceIn(0, picture.height - 1)
            (argb[y * picture.width + x] shr (16 - 8 * (it % 3))).toByte()
        }
        return resize(rgb, across, down, width, height)
    }

    override fun close() = interpreter.close()

    companion object {
        fun load(assets: AssetManager): ExpressionModel {
            val file = assets.list("models").orEmpty().first { it.endsWith(".tflite") }
            val bytes = assets.open("models/$file").use { it.readBytes() }
            val network = ByteBuffer.allocateDirect(bytes.size).order(ByteOrder.nativeOrder()).put(bytes)
            network.rewind()
            return ExpressionModel(network, assets.open("labels.txt").bufferedReader().use { it.readLines() })
        }
    }
}

class GoldenResult(val name: String, val difference: Float, val passed: Boolean)

/** The package's own tests: what this device says about the drawings, against what it should say. */
fun goldenTests(model: ExpressionModel, assets: AssetManager): List<GoldenResult> =
    assets.open("golden/expected.tsv").bufferedReader().use { it.readLines() }
        .drop(1)
        .map { it.split("\t") }
        .filter { it[1] == "tflite" }
        .map { row ->
            val values = model.run(assets.open("golden/${row[0]}.rgb").use { it.readBytes() })
            val difference = values.zip(row.drop(3)) { value, expected -> abs(value - expected.toFloat()) }.maxOrNull()!!
            GoldenResult(row[0], difference, difference <= row[2].toFloat())
        }

/** RGB pixels at another size, as PREPROCESSING.md says. */
fun resize(rgb: ByteArray, width: Int, height: Int, toWidth: Int, toHeight: Int): ByteArray =
    resample(resample(rgb, height, width, 3, toWidth), 1, height, toWidth * 3, toHeight)

/** How much an input pixel counts at a distance from the output's centre, in output pixels: a triangle. */
private fun weight(distance: Double) = max(0.0, 1.0 - abs(distance))

/** Weighted sums along the middle axis of pixels laid out as (outer, length, inner). */
private fun resample(pixels: ByteArray, outer: Int, length: Int, inner: Int, count: Int): ByteArray {
    val one = 1 shl 22 // weights are integers: the sums are equal on every machine
    val scale = length.toDouble() / count
    val reach = max(scale, 1.0)
    val result = ByteArray(outer * count * inner)
    for (out in 0 until count) {
        val centre = (out + 0.5) * scale
        val start = max(0, floor(centre - reach).toInt())
        val stop = min(length, ceil(centre + reach).toInt())
        val shares = DoubleArray(stop - start) { weight((start + it + 0.5 - centre) / reach) }
        val sum = shares.sum()
        val weights = IntArray(shares.size) { (shares[it] / sum * one + 0.5).toInt() }
        for (row in 0 until outer) {
            for (column in 0 until inner) {
                var total = one.toLong() / 2
                for (i in weights.indices) {
                    total += weights[i].toLong() * (pixels[(row * length + start + i) * inner + column].toInt() and 0xFF)
                }
                result[(row * count + out) * inner + column] = (total / one).coerceIn(0, 255).toByte()
            }
        }
    }
    return result
}
