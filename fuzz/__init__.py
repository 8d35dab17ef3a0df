"""Throw broken pictures at the engine, in processes with the limits of a worker's children: `make fuzz`.

`__main__` runs it, `line` makes inputs (`seeds`, `mutations`, `parts`) and shows them to a child (`child`), which lets
the engine do what a worker does with them and judges what comes out (`judge`). What should not be is kept by `findings`.
"""
