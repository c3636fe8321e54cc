"""What self-influence costs on architectures at real widths, beside a training pass and captum."""
