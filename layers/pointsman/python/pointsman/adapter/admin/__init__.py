"""Reads Envoys' admin interfaces, for adapters whose Envoys do not report rejections themselves."""
