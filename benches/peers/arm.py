"""Our environment `arm` as a Gymnasium environment on MuJoCo, for the peers: the same URDF file, task and control. It has what
the files of configs/ ask for: torques, or servo targets that actions move, and objects in a box or anywhere in the reach."""

import xml.etree.ElementTree as xml
from pathlib import Path

import gymnasium
import mujoco
import numpy as np

TIME_STEP, SUBSTEPS, TIME_CONSTANT, LOWEST = 0.004, 5, 0.05, 0.05
GRASP_DISTANCE, GRASP_SPEED = 0.05, 0.5


class Arm(gymnasium.Env):
    """Truncated by gymnasium's TimeLimit after 200 steps."""

    def __init__(self, path, parameters):
        root = xml.parse(path).getroot()
        compiler = xml.SubElement(xml.SubElement(root, "mujoco"), "compiler")
        compiler.attrib |= {"fusestatic": "false", "discardvisual": "true"}
        spec = mujoco.MjSpec.from_string(xml.tostring(root, encoding="unicode"))
        spec.option.timestep = TIME_STEP
        spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
        spec.option.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_CONTACT)
        joints = len(spec.joints)
        limits = {joint.get("name"): joint.find("limit") for joint in root.findall("joint")}

        def each(key, default):
            value = parameters.get(key, default)
            return np.full(joints, value) if np.isscalar(value) else np.array(value, float)

        def of_file(key):
            return [float(limits[joint.name].get(key)) for joint in spec.joints]

        armature, damping, friction = each("armature", 0.1), each("damping", np.nan), each("friction", np.nan)
        for index, joint in enumerate(spec.joints):
            joint.armature = armature[index]
            if not np.isnan(damping[index]):
                joint.damping = np.array([damping[index], 0.0, 0.0])
            if not np.isnan(friction[index]):
                joint.frictionloss = friction[index]
        if parameters.get("gravity_compensation", True):
            for body in spec.bodies:
                body.gravcomp = 1.0
        model = spec.compile()
        self.low, self.high = model.jnt_range.T.copy()
        self.home = each("home", (self.low + self.high) / 2)
        self.has_servos = parameters.get("control", "delta_position") == "delta_position"
        force = each("max_force", of_file("effort"))
        speed = each("max_speed", of_file("velocity"))
        self.scale = TIME_STEP * SUBSTEPS * speed if self.has_servos else force
        # Servos that are critically damped where a joint is by itself.
        data = mujoco.MjData(model)
        data.qpos[:] = self.home
        mujoco.mj_forward(model, data)
        mass = np.zeros((joints, joints))
        mujoco.mj_fullM(model, data, mass)
        kp = each("kp", np.diag(mass) / TIME_CONSTANT**2)
        kv = each("kv", 2 * np.diag(mass) / TIME_CONSTANT)
        for index, joint in enumerate(spec.joints):
            motor = spec.add_actuator(name=joint.name, target=joint.name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
            if self.has_servos:
                motor.set_to_position(kp=kp[index], kv=kv[index])
            else:
                motor.set_to_motor()
            motor.forcerange, motor.forcelimited = np.array([-force[index], force[index]]), True
        self.model = spec.compile()
        self.data = mujoco.MjData(self.model)
        self.noise = parameters.get("reset_noise", 0.1)
        self.weights = [
            parameters.get(f"{key}_weight", default)
            for key, default in (("distance", 1.0), ("effort", 0.01), ("grasp", 10.0))
        ]
        self.tip = self.model.body(parameters["tip"]).id
        self.jacobian = np.zeros((3, joints))
        self.target = self.home.copy()
        self.box = None
        if parameters.get("object", "reachable") == "box":
            self.box = np.array(parameters["object_low"]), np.array(parameters["object_high"])
        self.object = np.zeros(3)
        width = 2 * joints + 6 + (joints if self.has_servos else 0)
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (width,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (joints,), np.float32)

    def place(self):
        """In the box, or where the tip is with all joints drawn between their limits."""
        if self.box:
            return self.np_random.uniform(*self.box)
        while True:
            self.data.qpos[:] = self.np_random.uniform(self.low, self.high)
            mujoco.mj_kinematics(self.model, self.data)
            place = self.data.xpos[self.tip].copy()
            if place[2] >= LOWEST:
                return place

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        mujoco.mj_resetData(self.model, self.data)
        self.object = self.place()
        around = self.home + self.np_random.uniform(-self.noise, self.noise, len(self.home))
        self.target = np.clip(around, self.low, self.high)
        self.data.qpos[:] = self.target
        self.measure()
        return self.observation(), {}

    def measure(self):
        """What is seen of the state that the last step ended in, which MuJoCo has not computed yet."""
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_comPos(self.model, self.data)

    def observation(self):
        parts = [self.data.qpos, self.data.qvel, self.data.xpos[self.tip], self.object]
        if self.has_servos:
            parts.append(self.target - self.data.qpos)
        return np.concatenate(parts, dtype=np.float32)

    def step(self, action):
        action = np.clip(np.asarray(action, float), -1.0, 1.0)
        if self.has_servos:
            self.target = np.clip(self.target + self.scale * action, self.low, self.high)
            self.data.ctrl[:] = self.target
        else:
            self.data.ctrl[:] = self.scale * action
        mujoco.mj_step(self.model, self.data, nstep=SUBSTEPS)
        self.measure()
        mujoco.mj_jacBody(self.model, self.data, self.jacobian, None, self.tip)
        distance = np.linalg.norm(self.data.xpos[self.tip] - self.object)
        speed = np.linalg.norm(self.jacobian @ self.data.qvel)
        grasped = bool(distance <= GRASP_DISTANCE and speed <= GRASP_SPEED)
        near, effort, grasp = self.weights
        reward = -near * distance - effort * action @ action + grasp * grasped
        return self.observation(), float(reward), grasped, False, {"is_success": grasped}


def make(config, parameters):
    """With the time limit; the robot's file is named as the configuration's file names it."""
    return gymnasium.wrappers.TimeLimit(Arm(Path(config).parent / parameters["urdf"], parameters), 200)
