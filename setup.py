"""The one part that is compiled, where there is a compiler; without it the same is done in Python, slower."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "reference_impl.pop._head",
            ["reference_impl/pop/_head.c"],
            extra_compile_args=["-O2"],
            optional=True,
        )
    ]
)
