"""Hearts to learn from, networks, how they are trained, and how good they are; the only room of torch.

To understand training, read specknet.py, head.py, losses.py, train.py, then fusion.py, train_fusion.py; to understand
the data, phantom.py and what it names; to understand a score, metrics.py, follow.py, evaluate.py.

THE NETWORK
    specknet.py           features at three scales
    head.py               the matching head: cost volumes, power, product, soft argmax
    encoder.py            a network in training, behind the matcher of the stream
    fusion.py             how the stream weighs its measurements: torch twin of rt/fusion.py

TRAINING
    train.py              train-tracker: the network, on pairs of frames
    train_fusion.py       train-fusion: the fusion, on whole sequences
    train_baseline.py     train-tracker for trackers of others
    baseline_losses.py    what these minimise
    losses.py             what the network minimises
    record.py             what the fusion learns from: measurements of the stream on clips
    calibration.py        confidence that means a probability
    selfsup.py            fine-tuning on clips without tracks
    beat_length.py        how long a beat of such a clip is
    config.py             settings of a run
    data.py               examples: anchor, recent frames, target
    augment.py            affine maps, and what scanners do to images
    loader.py             batches made ahead
    sources.py            folders mixed by weight, clips kept in memory
    average.py            the running mean of weights, which is what ships
    widen.py              a wide network begun from a narrow one
    checkpoint.py         what is saved, whole or not at all
    journal.py            losses.csv and TensorBoard

BASELINES: trackers of others, rebuilt from descriptions; their weights are the user's (docs/baselines.md)
    point_tracker.py      one call for all of them
    official_checkpoint.py  their public checkpoints, as they are
    residual_encoder.py   the encoder they share
    in_parts.py           a few rows at a time
    echotracker.py        EchoTracker
    pips.py               PIPs++
    window_correlation.py what these two compare
    temporal_head.py      and what makes motion of it
    cotracker.py          CoTracker3
    cotracker_correlation.py  what it compares
    cotracker_transformer.py  what refines its tracks
    cotracker_stream.py   its windows over a stream
    cotracker_predictor.py  its official predictors
    windowed_models.py    all of them in the live stream (rt/windowed.py)

CLIPS
    clip_format.py        the training clip (docs/clip-format.md)
    tapvid.py             clips in the layout of TAP-Vid
    phases.py             which part of the beat a frame shows
    simulate.py           simulate-echo: phantom clips on disk

THE PHANTOM (docs/phantom.md): how hearts move
    subject.py            what the renderer asks of anything it can image
    heart.py              motion in the apical views
    anatomy.py            what lies where in them
    valves.py             leaflets
    heart_short_axis.py   short axis
    tissue_block.py       tissue without a heart
    rhythm.py             when beats begin and how each goes
    ecg_signal.py         the ECG of a rhythm
    placement.py          position under the probe, breathing, an unsteady hand
    dice.py               draws from one generator
    random_heart.py       subjects over clinical ranges
    views.py              an ordinary and a random subject of every view

THE PHANTOM: how they look
    phantom.py            a clip and its truth
    random_phantom.py     heart, scanner and look drawn from one seed
    tissue_map.py         how strongly each place scatters
    scatterers.py         what scatters there, and how its speckle changes
    ultrasound.py         the scanner
    imaging.py            its knobs, and where a millimetre lies on the display
    grid.py               ranges and angles
    filters.py            blurs
    artefacts.py          what stands still before the heart
    display.py            gray map, speckle filter, persistence, compression
    difficulty.py         is a set of clips as hard as real echo?
    contact_sheet.py      does it look like real echo?

EVALUATION (docs/evaluation.md)
    evaluate.py           eval-tracker
    cases.py              clips and the frames to query
    follow.py             a tracker on one clip
    classical.py          Lucas-Kanade, DIS flow, no motion
    metrics.py            position accuracy
    strain_agreement.py   GLS against the truth
    score.py              figures of one tracker on one clip
    score_cache.py        figures kept on disk
    jobs.py               several clips at once
    peak_memory.py        memory that a tracker takes
    summary.py            figures over all clips
    report.py             accuracy.md and accuracy.json
    figures.py            accuracy as pictures
    evaluate_strain.py    eval-strain: GLS and segments through the real session (docs/strain.md)
    strain_config.py      its settings
    virtual_hearts.py     hearts whose strain can be judged, as recordings
    strain_trial.py       one of them through the session
    strain_clips.py       one beat of a clip at its true events
    strain_report.py      strain.md, strain.json, strain.png

THE PHASE, JUDGED (docs/phase.md)
    phase_evaluate.py     eval-phase
    phase_config.py       its settings
    recordings.py         hearts of which every beat is known
    play.py               played through the session
    phase_score.py        what was said against the truth
    phase_report.py       phase.md and phase.json

STUDIES (docs/results.md)
    studies.py            study-tracker NAME
    study_config.py       the sizes they share, and what each varies
    study_bias.py         do networks learn where hearts usually move?
    polar.py              directions of motion
    study_phase.py        when in the beat to set points
    study_head.py         combination, gamma, scales
    combination.py        ways to combine scales
    study_selfsup.py      fine-tuning without tracks
    study_bench.py        how networks of a study are trained and scored
    study_clips.py        their clips
    study_loop.py         their training loop
    study_report.py       results, and the page that joins them
    study_plots.py        the look of their figures
"""
