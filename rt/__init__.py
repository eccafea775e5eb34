"""Beside the scanner: from a frame on the wire to trajectories and strain. In reading order.

cli.py          rt-serve, rt-track; errors.py, console.py (how they are told), config.py, settings.py (YAML)
daemon.py       lifetime: sockets.py, ingest.py, wake.py, stream.py, control.py, publisher.py, warmup.py; metrics.py,
                recorder.py and recording.py (streams on disk), security.py and keys_cli.py (keys of the sockets)
wire.py         messages: headers.py, packing.py; update.py (what is said of a frame and of a beat)
session.py      one frame's journey; frame.py, geometry.py (the coordinate convention)
  drawn.py        points that a user drew, checked
  preprocess.py   the image an engine sees; region.py (the part of it around the points),
                  frame_encoder.py (what is encoded of it), still_picture.py (what is taken out of it)
  window.py       the last frames with their features
  engine.py       engines: engine_ort.py, engine_ort_device.py, engine_openvino.py, engine_torch.py, engine_trt.py,
                  engine_block.py; engine_choice.py (auto), self_check.py, precision_gate.py, parity.py, cache.py;
                  manifest.py (the card)
                  trt_runner.py (TensorRT plans): trt_device.py (CUDA), trt_log.py, plan_cache.py
                  feature_matcher.py (matching that engines share)
                  encode_ahead.py (the next frame's features while the last one is followed)
                  torch_graph.py (an ONNX graph run by torch): torch_operators.py
  tracker.py      points from frame to frame: motion.py (optical flow): dense_flow.py (the dense part of it),
                  lucas_kanade.py (each point by itself; lucas_kanade_kernel.py, compiled)
                  correlation.py (the matching head)
                  measure.py (what a frame says), position.py (evidence to positions), fusion.py (how it is weighed),
                  wall_shape.py (what neighbours say; points as they are published)
                  head_kernel.py, readout.py (head and reading, compiled), fast_math.py, halves.py (on two cores),
                  blas.py (linear algebra on one)
  same_phase.py   the frame that looks like the first one: where drift is taken out
  phase.py        cardiac phase: ecg.py (R waves), pulse.py (what beats in the image), cycle.py (heart-rate model)
    beat_follower.py  beats without an ECG: beat_search.py (their events), beat_model.py (what a beat looks like)
  windowed.py     models that see a window of frames at once: late_session.py (frames wait until it is full)
  anchor.py       which frame to re-anchor on
  contour.py      resampling, smoothing, segments; strain.py (live strain), strain_rate.py
  beat.py         recent frames, and the beats cut out of them
  settle.py       finished beats, settled: retrack.py (followed twice), drift.py (the loop closed), wall_motion.py
                  (unsure points go by their neighbours), beat_measure.py (strain, times, layers),
                  segment_quality.py (what to believe)
health.py       states of a stream; latency.py
offline.py      the same session over a clip: track.py (rt-track), clip.py, dicom.py, points.py, track_config.py;
                known_beat.py (a beat whose events were given)
  result_files.py strain.csv and beats.json: walls.py (names of segments), average.py (several beats)
  bullseye.py     the left ventricle from three views: bullseye_cli.py (rt-bullseye)
overlay.py      pictures: overlay_panel.py, drawing.py, video_out.py, frame_index.py (numbers burnt into frames)
bench.py        rt-bench: bench_scene.py (what is shown), bench_served.py (the daemon under the stopwatch),
                bench_subjects.py, bench_trackers.py (what is measured), bench_run.py (in turns), bench_report.py
models/         networks that ship with the package, each with its card
"""
