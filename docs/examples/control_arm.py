"""Runs a policy of the environment `arm` that `trainer export --format onnx` wrote, as often as it was trained to act.

    control_arm.py POLICY.onnx ROBOT.urdf TIP X Y Z

`Robot` is the place of your robot's driver. Here it is servos that follow their targets, so that the loop can be tried.
"""

import json
import re
import sys
import time
import xml.etree.ElementTree as xml

import numpy as np
import onnxruntime

# The environment's grasp_distance, m.
GRASP_DISTANCE = 0.05


class Robot:
    """A driver's two functions: measured positions and velocities by the names of the joints, and targets."""

    def __init__(self, home):
        self.position, self.velocity = dict(home), {name: 0.0 for name in home}

    def read(self):
        return self.position, self.velocity

    def command(self, targets, seconds):
        for name, target in targets.items():
            now = self.position[name] + (target - self.position[name]) * (1 - np.exp(-seconds / 0.05))
            self.velocity[name] = (now - self.position[name]) / seconds
            self.position[name] = now


class Kinematics:
    """Where a link of a URDF file is."""

    def __init__(self, path, tip):
        joints = {joint.find("child").get("link"): joint for joint in xml.parse(path).getroot().findall("joint")}
        self.chain = []
        while tip in joints:
            self.chain.insert(0, joints[tip])
            tip = joints[tip].find("parent").get("link")
        self.limits = {}
        for joint in joints.values():
            limit, kind = joint.find("limit"), joint.get("type")
            if kind != "fixed":
                bounds = [float(limit.get(end)) for end in ("lower", "upper")] if kind != "continuous" else [-9e9, 9e9]
                self.limits[joint.get("name")] = bounds

    def tip(self, positions):
        pose = np.eye(4)
        for joint in self.chain:
            pose = pose @ frame(joint.find("origin"))
            if joint.get("type") != "fixed":
                axis = numbers(joint.find("axis"), "xyz", "1 0 0")
                at, slides = positions[joint.get("name")], joint.get("type") == "prismatic"
                pose = pose @ (moved(np.eye(3), at * axis) if slides else moved(turn(axis, at), np.zeros(3)))
        return pose[:3, 3]


def numbers(element, key, default):
    return np.array((default if element is None else element.get(key, default)).split(), float)


def moved(rotation, position):
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, position
    return pose


def turn(axis, angle):
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def frame(origin):
    roll, pitch, yaw = numbers(origin, "rpy", "0 0 0")
    rotation = turn(np.array([0, 0, 1]), yaw) @ turn(np.array([0, 1, 0]), pitch) @ turn(np.array([1, 0, 0]), roll)
    return moved(rotation, numbers(origin, "xyz", "0 0 0"))


def main():
    policy, urdf, tip, *place = sys.argv[1:]
    session = onnxruntime.InferenceSession(policy)
    about = session.get_modelmeta().custom_metadata_map
    names, seconds = json.loads(about["observation_names"]), float(about["step_seconds"])
    # "change of target panda_joint1 [0.0435 rad]": the joint, and what an action of 1 is.
    actions = [re.fullmatch(r"change of target (.*) \[(\S+) \S+\]", name) for name in json.loads(about["action_names"])]
    assert all(actions), f"this loop moves targets; the policy's actions are {about['action_names']}"
    scale = {match[1]: float(match[2]) for match in actions}

    kinematics, goal = Kinematics(urdf, tip), [float(number) for number in place]
    # ANCHOR: loop
    robot = Robot({name: sum(kinematics.limits[name]) / 2 for name in scale})
    targets = dict(robot.read()[0])
    due = time.monotonic()
    for step in range(round(4 / seconds)):
        position, velocity = robot.read()
        at = kinematics.tip(position)
        away = np.linalg.norm(at - goal)
        if away <= GRASP_DISTANCE:
            break  # The policy was trained up to here, and knows no further.
        known = {f"{name} [rad]": position[name] for name in scale}
        known |= {f"velocity {name} [rad/s]": velocity[name] for name in scale}
        known |= {f"tip {axis} [m]": number for axis, number in zip("xyz", at)}
        known |= {f"object {axis} [m]": number for axis, number in zip("xyz", goal)}
        known |= {f"target {name} - {name} [rad]": targets[name] - position[name] for name in scale}
        observation = np.array([[known[name] for name in names]], np.float32)
        [[action]] = session.run(["action"], {"observation": observation})
        for (name, size), number in zip(scale.items(), action):
            low, high = kinematics.limits[name]
            targets[name] = min(max(targets[name] + size * float(number), low), high)
        robot.command(targets, seconds)
        print(f"{step * seconds:.2f} s: {1000 * away:.0f} mm away")
        due += seconds
        late = time.monotonic() - due
        if late > 0:
            print(f"step {step} was {1000 * late:.0f} ms late", file=sys.stderr)
        time.sleep(max(0.0, -late))
    # ANCHOR_END: loop
    print(f"{1000 * away:.0f} mm away at the end")


if __name__ == "__main__":
    main()
