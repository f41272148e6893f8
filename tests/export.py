"""Answers on stdout, in JSON, what exported policies do; the cases come on stdin, in JSON.

The argument is the folder with the book's examples, whose numpy function is used as it is there.
"""

import json
import sys

import numpy as np
import onnxruntime

sys.path.insert(0, sys.argv[1])
import numpy_policy  # noqa: E402


def onnx(path, observations):
    session = onnxruntime.InferenceSession(path)
    [actions] = session.run(["action"], {"observation": observations})
    [one] = session.run(None, {"observation": observations[:1]})
    assert np.allclose(one[0], actions[0], rtol=0, atol=1e-6), "one row gives what many give"
    [given], [taken] = session.get_outputs(), session.get_inputs()
    return {
        "actions": actions.reshape(len(observations), -1).tolist(),
        "input": [taken.name, taken.type, taken.shape],
        "output": [given.name, given.type, given.shape],
        "about": session.get_modelmeta().custom_metadata_map,
    }


def numpy(path, observations):
    policy = numpy_policy.load(path)
    actions = numpy_policy.act(policy, observations)
    one = numpy_policy.act(policy, observations[0])
    assert np.allclose(one, actions[0], rtol=0, atol=1e-6), "one row gives what many give"
    return {
        "actions": actions.reshape(len(observations), -1).tolist(),
        "tensors": sorted(policy[0]),
        "about": policy[1],
    }


answers = []
for case in json.load(sys.stdin):
    observations = np.array(case["observations"], np.float32)
    answers.append(
        {
            "numpy": numpy(case["safetensors"], observations),
            "onnx": onnx(case["onnx"], observations),
        }
    )
json.dump(answers, sys.stdout)
