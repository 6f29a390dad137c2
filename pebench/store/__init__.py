"""The folders of runs, which are the truth: all else (MLflow, tables, status) is read from them.

runs/<id>/spec.json         what was asked for, with every default
          plugins/          copies of the plugin files it needs
          classes.json      names of the classes, if its model tells classes apart
          tokenizer.json    what turns text into the tokens of its model, if it reads text
          provenance.json   commit, versions, machine, data fingerprints
          changes.diff      how the code differed from its commit, if it did
          metrics.jsonl     one JSON object a line, only ever appended to
          curve.jsonl       scores during training, one JSON object a moment, likewise
          weights/          the weights of these moments, where they were to be kept
          system.jsonl      how busy the machine was, likewise
          log.txt           what a person may want to read
          worker.json       who works on it now, and when it last said so
          checkpoint/       the newest state to go on from; removed when the run is finished, weights kept
          continuation/     the state from which a run with more updates goes on, if its schedule allows that
          failure.json      why the last attempt ended, if it ended badly
          cancelled         if this cell alone was cancelled; removed when it is started again
          model.safetensors the trained weights
          examples.npz      scores of single documents, questions or pictures; see `example_scores`
          result.json       the scores; its presence is what "finished" means
runs/.sweeps/<name>.json    which runs a submitted sweep is made of
runs/.choices/<key>/        settings that were tuned, see `pebench.store.tuned_choices`
"""
