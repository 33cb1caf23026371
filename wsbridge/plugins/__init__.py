"""What plugs wsbridge into servers of other makers; none of it imports them."""
