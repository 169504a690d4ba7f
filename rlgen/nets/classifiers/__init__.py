"""Image classifiers for small pictures, as plain modules with named stages."""

from rlgen.nets.classifiers.mobilenet import MobileNetV2
from rlgen.nets.classifiers.resnet import ResNet
from rlgen.nets.classifiers.staged import CLASSIFIERS, StagedClassifier, make_classifier
from rlgen.nets.classifiers.vgg import VGG
from rlgen.nets.classifiers.wide_resnet import WideResNet

__all__ = [
    "CLASSIFIERS",
    "VGG",
    "MobileNetV2",
    "ResNet",
    "StagedClassifier",
    "WideResNet",
    "make_classifier",
]
